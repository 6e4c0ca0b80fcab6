"""A Docker host as its engine is asked for it: dockerd's options, and the bodies of requests to its API.

What `rules` says of a `DockerHost` and what an engine writes after these requests must be the same: that is
how the two are compared. Source: moby api/docs (Engine API 1.41 and later),
docs.docker.com/reference/cli/dockerd.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from netverify.docker.config import Attachment, BridgeNetwork, DockerHost, containers, ports_of
from netverify.docker.errors import DockerError
from netverify.docker.version import IP6TABLES, IP6TABLES_BY_DEFAULT

Json = str | int | bool | None | Sequence["Json"] | Mapping[str, "Json"]

_DRIVER = "com.docker.network.bridge"


def daemon_options(host: DockerHost) -> list[str]:
    """The options of dockerd for this host; without a default bridge among its networks, none is made."""
    options = [f"--userland-proxy={_word(host.userland_proxy)}", f"--iptables={_word(host.iptables)}"]
    if host.engine.has(IP6TABLES):
        options.append(f"--ip6tables={_word(host.filters_ipv6)}")
        if not host.engine.has(IP6TABLES_BY_DEFAULT) and host.filters_ipv6:
            options.append("--experimental")
    flags = (
        ("--ip-forward-no-drop", host.ip_forward_no_drop),
        ("--allow-direct-routing", host.allow_direct_routing),
        (f"--bridge-accept-fwmark={host.accept_fwmark}", host.accept_fwmark is not None),
        ("--firewall-backend=nftables", host.backend == "nftables"),
    )
    options += [flag for flag, is_set in flags if is_set]
    default = next((network for network in host.networks if network.default), None)
    return options + (["--bridge=none"] if default is None else list(_default_bridge(default)))


def daemon_environment(host: DockerHost) -> dict[str, str]:
    """What dockerd must find in its environment for this host."""
    switches = {
        "DOCKER_INSECURE_NO_IPTABLES_RAW": not host.raw_rules,
        "DOCKER_IPTABLES_SCTP_CHECKSUM": host.sctp_checksum,
    }
    return {name: "1" for name, is_set in switches.items() if is_set}


def network_request(network: BridgeNetwork) -> dict[str, Json]:
    """The body of POST /networks/create for one of the host's networks, not for the default bridge."""
    if network.default:
        raise DockerError(f"network {network.name} is made by the daemon itself, and by no request")
    subnets = [str(subnet) for subnet in (network.subnet, network.subnet6) if subnet is not None]
    options: dict[str, Json] = {
        f"{_DRIVER}.name": network.bridge,
        f"{_DRIVER}.enable_icc": _word(network.icc),
        f"{_DRIVER}.enable_ip_masquerade": _word(network.masquerade),
    }
    given = {
        f"{_DRIVER}.host_binding_ipv4": network.host_binding,
        "com.docker.network.host_ipv4": network.host_ipv4,
        "com.docker.network.host_ipv6": network.host_ipv6,
    }
    options |= {name: str(value) for name, value in given.items() if value is not None}
    for version in (4, 6):
        if network.mode(version) != "nat":
            options[f"{_DRIVER}.gateway_mode_ipv{version}"] = network.mode(version)
    if network.trusted:
        options[f"{_DRIVER}.trusted_host_interfaces"] = ":".join(network.trusted)
    return {
        "Name": network.name,
        "Driver": "bridge",
        "Internal": network.internal,
        "EnableIPv6": network.subnet6 is not None,
        "IPAM": {"Config": [{"Subnet": subnet} for subnet in subnets]},
        "Options": options,
    }


@dataclass(frozen=True, slots=True)
class ContainerRequest:
    """One container: the body of POST /containers/create, then those of POST /networks/NAME/connect."""

    name: str
    body: dict[str, Json]
    joins: dict[str, dict[str, Json]] = field(default_factory=dict)


def container_requests(host: DockerHost, image: str, command: Sequence[str]) -> list[ContainerRequest]:
    """The host's containers in the order of their start, each on the networks that it is attached to.

    The first attachment stands in the container's own request; the other networks are joined before the
    start. Raises DockerError for a container that publishes through another network than its first.
    """
    requests = []
    names = {
        places[0].address: places[0].container or f"c{number}"
        for number, places in enumerate(containers(host))
    }
    for places in containers(host):
        first, *others = places
        if any(ports_of(host, place.network, place.address) for place in others):
            raise DockerError(f"container {first.address} publishes through a network that it joins later")
        name = names[first.address]
        bindings: dict[str, list[Json]] = {}
        for port in ports_of(host, first.network, first.address):
            address = "" if port.host_address is None else str(port.host_address)
            bindings.setdefault(f"{port.container_port}/{port.protocol}", []).append(
                {"HostIp": address, "HostPort": str(port.host_port)}
            )
        exposed = {
            *bindings,
            *(f"{one.port}/{one.protocol}" for one in host.links if one.server == first.address),
        }
        body: dict[str, Json] = {
            "Image": image,
            "Cmd": list(command),
            "StopSignal": "SIGKILL",  # a command that is process 1 and handles no signal ignores all others
            "ExposedPorts": {port: {} for port in sorted(exposed)},
            "HostConfig": {
                "NetworkMode": first.network,
                "PortBindings": bindings,
                "Links": [f"{names[one.server]}:linked" for one in host.links if one.client == first.address],
            },
        }
        if not host.network(first.network).default:
            body["NetworkingConfig"] = {"EndpointsConfig": {first.network: _endpoint(first)}}
        joins: dict[str, dict[str, Json]] = {}
        for place in others:
            joins[place.network] = {"Container": name, "EndpointConfig": _endpoint(place)}
        requests.append(ContainerRequest(name, body, joins))
    return requests


def _endpoint(place: Attachment) -> dict[str, Json]:
    config: dict[str, Json] = {"IPv4Address": str(place.address)}
    if place.address6 is not None:
        config["IPv6Address"] = str(place.address6)
    return {"IPAMConfig": config}


def _default_bridge(network: BridgeNetwork) -> Sequence[str]:
    """The options of dockerd that say how the default bridge is made; raises DockerError for one it lacks."""
    plain = BridgeNetwork(
        network.name,
        network.bridge,
        network.subnet,
        network.subnet6,
        default=True,
        icc=network.icc,
        masquerade=network.masquerade,
        host_binding=network.host_binding,
    )
    if network != plain or network.name != "bridge" or network.bridge != "docker0":
        raise DockerError(f"network {network.name}: dockerd has no option that makes such a default bridge")
    options = [
        f"--bip={network.subnet[1]}/{network.subnet.prefixlen}",
        f"--icc={_word(network.icc)}",
        f"--ip-masq={_word(network.masquerade)}",
    ]
    if network.host_binding is not None:
        options.append(f"--ip={network.host_binding}")
    if network.subnet6 is not None:
        options += ["--ipv6", f"--fixed-cidr-v6={network.subnet6}"]
    return options


def _word(value: bool) -> str:
    return "true" if value else "false"
