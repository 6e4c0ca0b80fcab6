"""A lab: a topology made of real kernel parts, owned by one ExitStack.

Each thing that is acquired (a namespace, a netlink channel) registers its undo before the next step; leaving
the lab undoes all of it in reverse, and what fails there fails the caller. The namespaces are held by file
descriptors alone, so when the process dies, however it dies, the kernel takes the whole lab down.
"""

from __future__ import annotations

import os
import shlex
import subprocess
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from types import TracebackType
from typing import Self, TypeVar

from netverify.errors import InputError, KernelError
from netverify.kernel import carrier, files, lifetime, questions, sandbox, service, sysctls
from netverify.kernel.build import build
from netverify.kernel.capture import Capture
from netverify.kernel.channel import Channel
from netverify.kernel.drivers import KernelDriver, drivers
from netverify.kernel.engines.engine import Relay
from netverify.kernel.firewall import Backend, Firewall, default_backend
from netverify.kernel.flow_key import FlowKey, Nonce
from netverify.kernel.namespace import Namespace, Visitor, open_namespace
from netverify.kernel.natview import NatView, Point
from netverify.kernel.netlink import Request
from netverify.kernel.nft_firewall import NftFirewall
from netverify.kernel.plan import Plan
from netverify.kernel.probe import Prober
from netverify.kernel.questions import Asked
from netverify.kernel.resident import Resident
from netverify.reachability.observed import ObservedMatrix
from netverify.reachability.probe import Cell, Probe
from netverify.topology.model import Address, Endpoint, NetworkDriver, Topology

T = TypeVar("T")


class Lab:
    """Namespaces with everything in them that a topology describes. A context manager.

    `backend` is the half of netfilter that its firewalls use; by default, what the machine's `iptables` uses.
    """

    def __init__(self, backend: Backend | None = None) -> None:
        self._chosen_backend = backend
        self._stack = ExitStack()
        self._firewalls: dict[str, Firewall] = {}
        self._nft_firewalls: dict[str, NftFirewall] = {}
        self._channels: dict[str, tuple[Namespace, Channel]] = {}
        self._held: dict[str, ExitStack] = {}  # one for each namespace, so that one can be let go of early
        self._adopted: set[str] = set()  # namespaces that the topology does not know
        self._aliases: dict[str, str] = {}  # other names of namespaces, where `adopt` met one a second time
        self.relays: list[tuple[str, Relay]] = []  # (protocol, relay)
        self.asked: list[Asked] = []
        self.captures: list[Capture] = []
        self.introduced = False  # whether everybody has been told everybody's MAC address
        self.flow: FlowKey = Nonce(bytes(8))  # how to know the packets of the question that was asked last
        self.topology = Topology("empty")
        self.plan = Plan({})

    def __enter__(self) -> Self:
        sandbox.require()
        files.raise_limit()
        with ExitStack() as stack:
            self.visitor = stack.enter_context(Visitor())
            stack.callback(questions.OPEN.remove, self)
            questions.OPEN.append(self)
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # With the error that ended the `with` block, if any: what fails here must not make it disappear.
        self._stack.__exit__(kind, error, trace)

    def up(self, topology: Topology) -> Self:
        """Build `topology`. A lab holds one topology; a second call is an error of the caller."""
        if self._channels:
            raise InputError(f"this lab already holds {self.topology.name!r}; open another lab")
        build(self, topology)
        return self

    # --- namespaces ----------------------------------------------------------------------------------------

    @property
    def backend(self) -> Backend:
        """The iptables backend of this lab."""
        return self._chosen_backend or default_backend()

    def create_namespaces(self, names: Sequence[str], *, ipv6: bool) -> None:
        """Make namespaces with a netlink channel each, and the lab's beginning settings."""

        def furnish() -> Channel:
            sysctls.write_all(sysctls.beginning(ipv6=ipv6))
            return Channel()

        for namespace, channel in self.visitor.create(names, furnish):
            self._adopt(namespace, channel)

    def _adopt(self, namespace: Namespace, channel: Channel) -> None:
        held = ExitStack()
        self._stack.push(held)
        held.callback(namespace.close)
        held.callback(channel.close)
        self._held[namespace.name] = held
        self._channels[namespace.name] = (namespace, channel)

    def adopt(self, name: str, path: str) -> Namespace:
        """Take in a namespace that somebody else made, by a path such as /proc/PID/ns/net.

        Where the path leads to a namespace of this lab, `name` becomes another name of it: were it held
        twice, its drops would be counted twice.
        """
        if name in self._channels or name in self._aliases:
            raise InputError(f"there is a namespace {name!r} in this lab already")
        namespace = open_namespace(path, name)
        for held, _channel in self._channels.values():
            if held.inode == namespace.inode:
                namespace.close()
                self._aliases[name] = held.name
                return held
        self._adopt(namespace, self.visitor.visit(namespace, Channel))
        self._adopted.add(name)
        self.plan.adopt(namespace, self.visitor.visit(namespace, carrier.devices_here))
        return namespace

    def drop(self, name: str) -> None:
        """Let go of a namespace before the lab ends; the kernel frees it and everything in it."""
        del self._channels[name]
        self._firewalls = {key: one for key, one in self._firewalls.items() if one.namespace.name != name}
        self._nft_firewalls.pop(name, None)
        self._aliases = {alias: held for alias, held in self._aliases.items() if held != name}
        self.plan.devices.pop(name, None)
        self._held.pop(name).close()

    @property
    def channels(self) -> Mapping[str, tuple[Namespace, Channel]]:
        """Every namespace of the lab with its netlink channel."""
        return self._channels

    def namespace(self, node: str) -> Namespace:
        """The namespace that a host or container is in (its own, or the one that it shares)."""
        return self._channels[self._owner(node)][0]

    def _owner(self, node: str) -> str:
        if (known := self._aliases.get(node, node)) in self._channels:
            return known
        owner = self.topology.namespace_of(node)
        if owner not in self._channels:
            raise InputError(f"no host or container {node!r} in {self.topology.name!r}")
        return owner

    def addresses(self, node: str, version: int) -> tuple[Address, ...]:
        """The addresses that the topology gives a node; none for a namespace that was adopted."""
        owner = self._owner(node)
        return () if owner in self._adopted else self.topology.addresses_of(owner, version)

    def visit(self, node: str, work: Callable[[], T]) -> T:
        """Run `work` inside a node's namespace."""
        return self.visitor.visit(self.namespace(node), work)

    def run(self, node: str, command: str | Sequence[str], *, check: bool = True) -> str:
        """Run a program inside a node's namespace and return what it printed.

        It ends with us. Raises KernelError with the program's own words when it fails and `check` is set.
        """
        words = shlex.split(command) if isinstance(command, str) else list(command)
        done = self.visit(
            node,
            lambda: subprocess.run(
                lifetime.mortal(words), capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False
            ),
        )
        if check and done.returncode != 0:
            raise KernelError(
                f"{node}: {shlex.join(words)}: exit code {done.returncode}: {done.stderr.strip()}"
            )
        return done.stdout + done.stderr

    def resident(self, node: str, prefix: Sequence[str] = ()) -> Resident:
        """An idle process inside a node's namespace, as a container has one. A context manager.

        With the `prefix` ("unshare", "--net") it lives in a new namespace instead.
        """
        return Resident(self.visitor, self.namespace(node), prefix)

    def shell_command(self, node: str) -> str:
        """The command that opens a shell inside a node, for a person in another terminal."""
        namespace = self.namespace(node)
        user = f"--user=/proc/{os.getpid()}/ns/user --preserve-credentials " if self.rootless else ""
        return f"nsenter {user}--net={namespace.path}"

    @property
    def rootless(self) -> bool:
        """Whether this lab lives in a user namespace."""
        return sandbox.require().rootless

    # --- settings ------------------------------------------------------------------------------------------

    def netlink(self, node: str, requests: Sequence[Request]) -> None:
        """Send netlink requests in a node's namespace."""
        namespace, channel = self._channels[self._owner(node)]
        channel.send(namespace.name, requests)

    def flush(self) -> None:
        """Send everything that the plan has gathered, phase by phase."""
        for phase in (self.plan.links, self.plan.stacked, self.plan.settings):
            for name, requests in phase.items():
                self.netlink(name, requests)
            phase.clear()
        devices = {name: list(known.values()) for name, known in self.plan.devices.items()}
        carrier.settle(self.visitor, self._channels, devices)

    def settle(self) -> None:
        """Treat devices that programs have made or changed like the lab's own.

        After `run(node, "ip link set veth0 up")` and its like: it makes them quick to give up on a silent
        neighbour, and waits until each that has carrier can send. `flush` does it for the plan's devices.
        """
        present = carrier.present(self.visitor, self._channels)
        for name, devices in present.items():
            self.netlink(name, self.plan.patience(devices))
        carrier.settle(self.visitor, self._channels, present)

    def sysctl(self, node: str, key: str, value: str | int | None = None) -> str:
        """Read a node's sysctl, after setting it where a value is given."""

        def work() -> str:
            if value is not None:
                sysctls.write(key, str(value))
            return sysctls.read(key)

        return self.visit(node, work)

    def firewall(self, node: str, backend: Backend | None = None) -> Firewall:
        """A node's firewall; its drops count as proof from now on."""
        owner, chosen = self._owner(node), backend or self.backend
        key = f"{owner}/{chosen.value}"
        if key not in self._firewalls:
            self._firewalls[key] = Firewall(self._channels[owner][0], self.visitor, chosen)
        return self._firewalls[key]

    @property
    def firewalls(self) -> Sequence[Firewall]:
        """Every firewall of iptables that has been used."""
        return tuple(self._firewalls.values())

    def nft_firewall(self, node: str) -> NftFirewall:
        """A node's native nftables; its drops count as proof from now on."""
        owner = self._owner(node)
        return self._nft_firewalls.setdefault(owner, NftFirewall(self._channels[owner][0], self.visitor))

    @property
    def nft_firewalls(self) -> Sequence[NftFirewall]:
        """Every namespace's native nftables that have been used."""
        return tuple(self._nft_firewalls.values())

    @property
    def prober(self) -> Prober:
        """A prober for the lab as it is now."""
        return Prober(self.visitor, self._channels, (*self.firewalls, *self.nft_firewalls))

    # --- questions -----------------------------------------------------------------------------------------

    def reachability(
        self,
        probe: Probe,
        among: Sequence[str] | None = None,
        *,
        sources: Sequence[str] | None = None,
        targets: Sequence[str] | None = None,
        listeners: Sequence[str] | None = None,
    ) -> ObservedMatrix:
        """Who reaches whom with `probe`: all of `sources` against all of `targets` (both `among`).

        Without any, everybody is asked. `listeners` names those who offer the service (default: everybody).
        `kernel/questions.py` says how a target is written.
        """
        return questions.reachability(
            self, probe, among, sources=sources, targets=targets, listeners=listeners
        )

    def ask(self, probe: Probe, source: str, target: str, listeners: Sequence[str] | None = None) -> Cell:
        """One pair."""
        return questions.ask(self, probe, [source], [target], listeners)[0]

    def explain(self, probe: Probe, source: str, target: str, listeners: Sequence[str] | None = None) -> Cell:
        """One pair alone, with the rules whose counters moved while it was in flight."""
        return questions.explain(self, probe, source, target, listeners)

    def capture(self, node: str, device: str, bpf: str = "") -> Capture:
        """A sniffer on a device of a node; `bpf` is a filter in tcpdump's language. A context manager."""
        sniffer = Capture(self.visitor, self.namespace(node), device, bpf)
        self.captures.append(sniffer)
        return sniffer

    def nat_view(
        self, points: Sequence[tuple[str, str]], *, conntrack: Sequence[str] = (), bpf: str = ""
    ) -> NatView:
        """One flow seen at several points, each a (node, device), and in the conntrack tables of some nodes.

        A context manager; ask inside it, then `view.table(lab.flow)` shows the question that was asked last.
        """
        watched = [Point(f"{node} {device}", self.namespace(node), device) for node, device in points]
        tables = [self.namespace(node) for node in conntrack]
        view = NatView(self.visitor, watched, conntrack=tables, bpf=bpf)
        self.captures += view.captures.values()
        return view

    def listen(self, probe: Probe, node: str) -> AbstractContextManager[None]:
        """Hold the port of `probe` in a node's namespace, as a service would, while the `with` block runs.

        Raises PortTaken where somebody in that namespace has it already.
        """
        return service.held(self.visitor, self.namespace(node), probe)

    # --- networks at run time ------------------------------------------------------------------------------

    @property
    def drivers(self) -> Mapping[NetworkDriver, KernelDriver]:
        """The network drivers, writing into this lab's plan."""
        return drivers(self.plan, self.topology.tunnel_addresses)

    def connect(self, container: str, endpoint: Endpoint) -> None:
        """Plug a running container into one more network (`docker network connect`)."""
        network = self.topology.network(endpoint.network)
        host = self.topology.container(container).host
        self.drivers[network.driver].connect(network, self._owner(container), endpoint, host)
        self.flush()

    def disconnect(self, container: str, endpoint: Endpoint) -> None:
        """Unplug a running container from a network (`docker network disconnect`)."""
        network = self.topology.network(endpoint.network)
        self.drivers[network.driver].disconnect(network, self._owner(container), endpoint)
        self.flush()
