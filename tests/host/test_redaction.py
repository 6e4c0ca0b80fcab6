"""A redacted snapshot names nobody, and answers as the original does."""

from __future__ import annotations

import json
import re
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netverify.host import Parts, SnapshotError, read_snapshot
from netverify.host.redaction import Redaction, _Names, _renumbering, redact
from netverify.host.renumbering import Renumbering, is_public, ranges_in
from netverify.model.matrix import reach
from netverify.model.snapshots import subject_of_snapshot
from netverify.reachability.probe import tcp
from tests.host.samples import CONTAINERS, IPTABLES, TEXTS, without

SALT = b"salt"
PRIVATE = ("10.1.2.3", "172.17.0.2", "192.168.1.1", "127.0.0.1", "169.254.1.1", "100.64.0.1", "203.0.113.9")
PRIVATE6 = ("fd00::1", "fe80::1", "::1", "ff02::1", "2001:db8::9", "::ffff:10.0.0.1")

addresses = st.ip_addresses(v=4) | st.integers(0x20 << 120, (0x40 << 120) - 1).map(IPv6Address)


@given(addresses, addresses, st.binary(max_size=4))
def test_addresses_share_as_many_bits_as_before(first: Any, second: Any, salt: bytes) -> None:
    if first.version != second.version:
        return
    numbers = Renumbering(salt)
    renamed = [numbers.address(first), numbers.address(second)]
    assert int(renamed[0]) ^ int(renamed[1]) < 1 << (int(first) ^ int(second)).bit_length()
    assert (int(renamed[0]) ^ int(renamed[1])).bit_length() == (int(first) ^ int(second)).bit_length()
    assert [is_public(address) for address in renamed] == [is_public(first), is_public(second)]


@pytest.mark.parametrize("address", [*PRIVATE, *PRIVATE6])
def test_private_addresses_stay(address: str) -> None:
    assert Renumbering(SALT).address(ip_address(address)) == ip_address(address)


@given(st.ip_addresses(v=4).filter(is_public), st.integers(0, 1 << 12), st.ip_addresses(v=4))
def test_a_range_stays_a_range_of_the_same_addresses(start: IPv4Address, length: int, other: Any) -> None:
    end = IPv4Address(min(int(start) + length, (1 << 32) - 1))
    if not is_public(end):
        return
    numbers = Renumbering(SALT, ranges=[(start, end)])
    first, last = numbers.address(start), numbers.address(end)
    assert int(last) - int(first) == int(end) - int(start)
    assert (start <= other <= end) == (first <= numbers.address(other) <= last)


@given(st.ip_addresses(v=4).filter(is_public), st.integers(8, 30))
def test_neighbours_on_a_link_stay_where_they_are(address: IPv4Address, length: int) -> None:
    network = ip_network(f"{address}/{length}", strict=False)
    numbers = Renumbering(SALT, attached=[network])
    if not is_public(network.network_address):
        return
    renamed = numbers.network(network)
    assert numbers.address(network.broadcast_address) == renamed.broadcast_address
    assert int(numbers.address(address)) - int(renamed[0]) == int(address) - int(network[0])


def test_most_addresses_change() -> None:
    numbers = Renumbering(SALT)
    given_ = [IPv4Address(number) for number in range(0x05000000, 0xDF000000, 0x01010107)]
    public = [address for address in given_ if is_public(address)]
    assert sum(numbers.address(address) == address for address in public) < len(public) / 20


TEXTS_WITH = [
    ("-s 93.184.216.0/24 -d 10.0.0.1/32", "-s {net}/24 -d 10.0.0.1/32"),
    ("-s 93.184.0.0/16", "-s {wide}/16"),
    ("--to-destination 93.184.216.34:80", "--to-destination {one}:80"),
    ("[::ffff:93.184.216.34]:443", "[::ffff:{one}]:443"),
    ("from 93.184.216.34.", "from {one}."),
    ("93.184.216.0/255.255.255.0", "{net}/255.255.255.0"),
    ("1.2.3.4.5 and v1.2.3.4 and 1.2.3.400", "1.2.3.4.5 and v1.2.3.4 and 1.2.3.400"),
    ("02:42:5d:b8:d8:22 at 12:34:56", "02:42:5d:b8:d8:22 at 12:34:56"),
    ("bridge name br-0123456789ab", "bridge name br-0123456789ab"),
]


@pytest.mark.parametrize(("text", "expected"), TEXTS_WITH)
def test_addresses_in_a_text(text: str, expected: str) -> None:
    numbers = Renumbering(SALT)
    one = str(numbers.address(ip_address("93.184.216.34")))
    net = str(numbers.network(ip_network("93.184.216.0/24")).network_address)
    wide = str(numbers.network(ip_network("93.184.0.0/16")).network_address)
    assert numbers.text(text) == expected.format(one=one, net=net, wide=wide)
    assert wide.endswith(".0.0")
    assert "93.184" not in one


def test_a_mask_with_gaps_is_refused() -> None:
    with pytest.raises(SnapshotError, match="a mask with gaps"):
        Renumbering(SALT).text("-s 93.184.0.34/255.255.0.255", "x")


def test_ranges_are_found() -> None:
    text = "--src-range 9.1.2.3-9.1.2.9 and 2a00::1-2a00::9, 4-5"
    assert [tuple(map(str, pair)) for pair in ranges_in(text)] == [
        ("9.1.2.3", "9.1.2.9"),
        ("2a00::1", "2a00::9"),
    ]


# --- whole snapshots ---------------------------------------------------------------------------------------

SECRET = ("acme-shop", "acme_default", "br-acme", "secret-host-7", "jobrunner")
RULES = """\
[0:0] -A FORWARD -s 93.184.0.0/16 -i eth0 -o br-acme -m comment --comment "acme-shop for 93.184.1.1" -j ACCEPT
[0:0] -A FORWARD -m iprange --src-range 93.184.216.5-93.184.217.17 -j DROP
[0:0] -A FORWARD -i br-+ -o br-acme -j LOG --log-prefix "to acme-shop: "
[0:0] -A FORWARD -s 8.8.8.8/32 -o br-acme -j ACCEPT
COMMIT
"""


def snapshot_of_a_shop() -> Parts:
    """The sample, with public addresses and a network and containers that say whose host it is."""

    def changed(text: str) -> str:
        return text.replace("198.51.100.", "93.184.216.").replace("docker0", "br-acme")

    texts = {name: changed(text) for name, text in TEXTS.items()}
    texts["iptables-legacy-save.txt"] = changed(IPTABLES).replace("COMMIT\n", RULES, 1)
    texts["iptables-save.txt"] = texts["iptables-legacy-save.txt"]
    containers = json.loads(texts["docker-containers.json"].replace("bridge", "acme_default"))
    containers[0]["Name"], containers[1]["Name"] = "/acme-shop", "/jobrunner"
    networks = json.loads(texts["docker-networks.json"])
    networks[0] |= {"Name": "acme_default", "Labels": {"owner": "acme-shop"}}
    texts |= {
        "docker-containers.json": json.dumps(containers),
        "docker-networks.json": json.dumps(networks),
        "meta.json": json.dumps(
            {"name": "secret-host-7", "kernel": "6.1", "missing": {"rule.json": "on 93.184.216.10"}}
        ),
        "sysctl.txt": TEXTS["sysctl.txt"] + "net.ipv4.conf.br-acme.rp_filter = 1\n",
        "ipset.txt": 'create a hash:net family inet comment\nadd a 93.184.0.0/16 comment "acme-shop"\n',
        "nft.json": json.dumps({"nftables": [{"metainfo": {"version": "1.0.6"}}]}),
        "containers/acme-shop/addr.json": texts.pop("containers/web/addr.json"),
        "containers/acme-shop/route.json": texts.pop("containers/web/route.json"),
    }
    missing = {"rule.json": "jobrunner of secret-host-7 refused 93.184.216.10"}
    del texts["rule.json"]
    return Parts("shop", texts, missing, "secret-host-7")


def test_nothing_is_named() -> None:
    text = redact(snapshot_of_a_shop(), SALT).as_json()
    for word in (*SECRET, "acme", "hunter2", "PASSWORD"):
        assert word not in text, word
    for address in ("93.184", "8.8.8.8"):
        assert not re.search(rf"(?<![0-9.]){re.escape(address)}", text), address
    assert "172.17.0.2" in text
    assert "1.0.6" in text


def test_what_is_missing_is_renamed_too() -> None:
    redacted = redact(snapshot_of_a_shop(), SALT)
    snapshot = read_snapshot(redacted)
    assert re.fullmatch(
        r"container-[0-9a-f]{8} of host-[0-9a-f]{8} refused [0-9.]+", snapshot.missing["rule.json"]
    )
    assert redacted.name == snapshot.name
    assert re.fullmatch(r"host-[0-9a-f]{8}", snapshot.name)


def test_names_are_the_same_everywhere() -> None:
    before, after = snapshot_of_a_shop(), redact(snapshot_of_a_shop(), SALT)
    theirs, ours = read_snapshot(before), read_snapshot(after)
    (network, _host), (container,) = ours.networks, ours.containers
    assert container.attachments[0].network == network.name == container.mode
    bridge = network.bridge
    assert bridge is not None
    assert bridge.startswith("br-")
    assert bridge in {device.name for device in ours.devices}
    assert f"-o {bridge}" in after.texts["iptables-save.txt"]
    assert f"net.ipv4.conf.{bridge}.rp_filter" in ours.sysctls
    assert {route.device for route in ours.routes} == {"eth0", bridge}
    assert container.devices is not None
    address = next(d for d in ours.devices if d.name == "eth0").addresses[0]
    assert str(address.network)[:-3] in {str(route.destination)[:-3] for route in ours.routes}
    assert len(ours.routes) == len(theirs.routes)
    # The same name in prose: in a comment, in a prefix of the log, in an ipset's comment.
    prose = re.findall(r"container-[0-9a-f]{8}", after.texts["iptables-save.txt"] + after.texts["ipset.txt"])
    assert set(prose) == {container.name}
    assert len(prose) == 3


def test_a_salt_decides() -> None:
    parts = snapshot_of_a_shop()
    assert redact(parts, SALT) == redact(parts, SALT)
    assert redact(parts, SALT).as_json() != redact(parts, b"pepper").as_json()


@pytest.mark.parametrize("salt", [b"a", b"b", b"c", b"d"])
def test_the_matrix_stays(salt: bytes) -> None:
    """Rules by public address, range and set decide here: the same cells come out, under other names."""
    before, after = read_snapshot(snapshot_of_a_shop()), read_snapshot(redact(snapshot_of_a_shop(), salt))
    subjects = [subject_of_snapshot(each, "x") for each in (before, after)]
    names = [
        [container.name for container in each.containers] + ["host", "lan", "internet"]
        for each in (before, after)
    ]
    first, second = (
        reach(subject, tcp(80), among, among).matrix for subject, among in zip(subjects, names, strict=True)
    )
    assert len({symbol for row in first.symbols for symbol in row}) > 1
    assert first.symbols == second.symbols


def test_wildcards_still_match() -> None:
    parts = snapshot_of_a_shop()
    texts = dict(parts.texts)
    for part in ("iptables-save.txt", "iptables-legacy-save.txt"):
        texts[part] = texts[part].replace("br-+", "br-a+")
    snapshot = read_snapshot(redact(Parts("x", texts, {}, "x"), SALT))
    assert (snapshot.networks[0].bridge or "").startswith("br-a")


NFT = [
    ({"prefix": {"addr": "93.184.0.0", "len": 16}}, lambda value: value["prefix"]["addr"].endswith(".0.0")),
    ({"range": ["93.184.216.5", "93.184.217.17"]}, lambda value: value["range"][0].endswith(".5")),
    (
        {"left": {"&": [{"payload": {}}, "255.255.0.0"]}, "right": "93.184.0.0"},
        lambda value: value["right"].endswith(".0.0"),
    ),
    ({"set": ["93.184.216.34", "10.0.0.1"]}, lambda value: value["set"][1] == "10.0.0.1"),
    ({"right": "br-acme"}, lambda value: value["right"] != "br-acme"),
    ({"right": {"set": ["br-acme", "eth0"]}}, lambda value: value["right"]["set"][1] == "eth0"),
    ({"jump": {"target": "br-acme"}}, lambda value: value["jump"]["target"] == "br-acme"),
    ({"comment": "to acme-shop"}, lambda value: "acme" not in value["comment"]),
]


@pytest.mark.parametrize(("expression", "holds"), NFT)
def test_addresses_and_devices_in_nftables(expression: Any, holds: Any) -> None:
    parts = snapshot_of_a_shop()
    snapshot = read_snapshot(parts)
    names, addresses = _Names.of(parts, snapshot, SALT), _renumbering(parts, snapshot, SALT)
    redaction = Redaction(names, addresses, parts)
    renamed = redaction.value(expression, "", "x")
    assert holds(renamed), renamed
    assert "93.184" not in json.dumps(renamed)


def test_other_snapshots_can_be_redacted() -> None:
    for parts in (
        Parts("x", TEXTS),
        Parts("x", without("docker-containers.json", "docker-networks.json", "addr.json")),
        Parts("x", {"addr.json": "[]"}),
    ):
        read_snapshot(redact(parts, SALT))
    lonely = Parts(
        "x", without("docker-containers.json", "docker-networks.json"), {"containers/db/addr.json": "no"}
    )
    parts = redact(lonely, SALT)
    assert not {part for part in (*parts.texts, *parts.missing) if "web" in part or "db" in part}
    alone = redact(
        Parts("x", {k: v for k, v in snapshot_of_a_shop().texts.items() if "networks" not in k}), SALT
    )
    assert "acme_default" not in alone.as_json()
    assert "stopped" not in redact(Parts("x", TEXTS), SALT).as_json()
    assert CONTAINERS[1]["Name"] == "/stopped"
