"""Extensions of iptables: does each program of each backend take a rule with each of them?

All rules go into a program in one load. Only where that fails is it found out by halving which of them are
to blame, so a machine that has everything costs four program starts. A real load, not `--test`: the legacy
programs ask the kernel for most extensions only when they commit.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from netverify.kernel.capabilities.filters import IP_SETS, PROGRAMS, make_ip_sets, probe_iptables
from netverify.kernel.capabilities.programs import Refused, run

BOTH = (4, 6)
MATCHES, TARGETS = "match extensions", "target extensions"

# What stands in braces in the rules below; documentation addresses (RFC 5737, RFC 3849).
_VALUES: Mapping[int, Mapping[str, str]] = {
    4: {
        "a": "192.0.2.1",
        "z": "192.0.2.9",
        "endpoint": "192.0.2.1:80",
        "net": "192.0.2.0/24",
        "set": IP_SETS[4],
    },
    6: {
        "a": "2001:db8::1",
        "z": "2001:db8::9",
        "endpoint": "[2001:db8::1]:80",
        "net": "2001:db8::/64",
        "set": IP_SETS[6],
    },
}


@dataclass(frozen=True, slots=True)
class Extension:
    """A match or target, and a rule that has it, as iptables-restore reads it.

    `place` is table and chain. `module` is the kernel module that has the extension. `needed` says whether
    the documented networks use it; `versions` are those of IP that have it.
    """

    name: str
    place: str
    rule: str
    module: str
    needed: bool = False
    versions: tuple[int, ...] = BOTH

    @property
    def table(self) -> str:
        """The table that its rule stands in."""
        return self.place.split()[0]

    @property
    def group(self) -> str:
        """The heading under which it is reported."""
        return MATCHES if self.name.startswith("match ") else TARGETS

    def line(self, version: int) -> str:
        """Its rule for IPv4 or IPv6."""
        return f"-A {self.place.split()[1]} {self.rule.format_map(_VALUES[version])}"


_IN, _FORWARD, _OUT, _RAW = "filter INPUT", "filter FORWARD", "filter OUTPUT", "raw PREROUTING"
_DNAT, _SNAT, _MANGLE = "nat PREROUTING", "nat POSTROUTING", "mangle FORWARD"

EXTENSIONS = (
    Extension("match addrtype", _IN, "-m addrtype --dst-type LOCAL", "xt_addrtype", True),
    Extension("match comment", _IN, "-m comment --comment netverify", "xt_comment", True),
    Extension("match connlimit", _IN, "-p tcp -m connlimit --connlimit-above 9", "xt_connlimit"),
    Extension("match connmark", _IN, "-m connmark --mark 0x1/0x1", "xt_connmark"),
    Extension("match conntrack", _IN, "-m conntrack --ctstate RELATED,ESTABLISHED", "xt_conntrack", True),
    Extension(
        "match hashlimit",
        _IN,
        "-m hashlimit --hashlimit-above 9/sec --hashlimit-mode srcip --hashlimit-name netverify",
        "xt_hashlimit",
    ),
    Extension("match hl", _IN, "-m hl --hl-eq 255", "xt_hl", versions=(6,)),
    Extension("match icmp", _IN, "-p icmp -m icmp --icmp-type echo-request", "ip_tables", True, (4,)),
    Extension("match icmp6", _IN, "-p icmpv6 -m icmp6 --icmpv6-type echo-request", "ip6_tables", True, (6,)),
    Extension("match iprange", _IN, "-m iprange --src-range {a}-{z}", "xt_iprange"),
    Extension("match length", _IN, "-m length --length 0:100", "xt_length"),
    Extension("match limit", _IN, "-m limit --limit 1/sec --limit-burst 5", "xt_limit"),
    Extension("match mac", _IN, "-m mac --mac-source 02:00:00:00:00:01", "xt_mac"),
    Extension("match mark", _IN, "-m mark --mark 0x1/0x1", "xt_mark"),
    Extension("match multiport", _IN, "-p tcp -m multiport --dports 80,443", "xt_multiport"),
    Extension("match owner", _OUT, "-m owner --uid-owner 0", "xt_owner"),
    Extension("match physdev", _FORWARD, "-m physdev --physdev-is-bridged", "xt_physdev"),
    Extension("match pkttype", _IN, "-m pkttype --pkt-type broadcast", "xt_pkttype"),
    Extension("match policy", _IN, "-m policy --dir in --pol none", "xt_policy"),
    Extension(
        "match recent", _IN, "-m recent --name netverify --rcheck --seconds 60 --hitcount 2", "xt_recent"
    ),
    Extension("match rpfilter", _RAW, "-m rpfilter --invert", "ipt_rpfilter, ip6t_rpfilter"),
    Extension("match rt", _IN, "-m rt --rt-type 0", "ip6t_rt", versions=(6,)),
    Extension("match sctp", _IN, "-p sctp -m sctp --dport 5060", "xt_sctp"),
    Extension("match set", _IN, "-m set --match-set {set} src", "xt_set"),
    Extension("match state", _IN, "-m state --state NEW", "xt_conntrack"),
    Extension("match string", _IN, "-m string --string netverify --algo bm", "xt_string"),
    Extension("match tcp", _IN, "-p tcp -m tcp --dport 80 --tcp-flags SYN,ACK SYN", "x_tables", True),
    Extension("match time", _IN, "-m time --timestart 08:00 --timestop 18:00 --weekdays Mon", "xt_time"),
    Extension("match udp", _IN, "-p udp -m udp --dport 53", "x_tables", True),
    Extension("target CHECKSUM", "mangle POSTROUTING", "-p udp -j CHECKSUM --checksum-fill", "xt_CHECKSUM"),
    Extension("target CONNMARK", _MANGLE, "-j CONNMARK --save-mark", "xt_connmark"),
    Extension("target CT", _RAW, "-j CT --notrack", "xt_CT"),
    Extension("target DNAT", _DNAT, "-p tcp -j DNAT --to-destination {endpoint}", "xt_nat", True),
    Extension("target LOG", _IN, "-j LOG --log-prefix netverify", "xt_LOG"),
    Extension("target MARK", _MANGLE, "-j MARK --set-xmark 0x1/0x1", "xt_mark"),
    Extension("target MASQUERADE", _SNAT, "-j MASQUERADE", "xt_MASQUERADE", True),
    Extension("target NETMAP", _DNAT, "-j NETMAP --to {net}", "xt_NETMAP"),
    Extension("target NFLOG", _IN, "-j NFLOG --nflog-group 1", "xt_NFLOG"),
    Extension("target NOTRACK", _RAW, "-j NOTRACK", "xt_CT"),
    Extension("target REDIRECT", _DNAT, "-p tcp -j REDIRECT --to-ports 8080", "xt_REDIRECT"),
    Extension("target REJECT", _IN, "-j REJECT", "ipt_REJECT, ip6t_REJECT", True),
    Extension("target SNAT", _SNAT, "-j SNAT --to-source {a}", "xt_nat", True),
    Extension(
        "target TCPMSS", _MANGLE, "-p tcp --tcp-flags SYN,RST SYN -j TCPMSS --clamp-mss-to-pmtu", "xt_TCPMSS"
    ),
    Extension("target TRACE", _RAW, "-j TRACE", "xt_TRACE"),
)
"""Every extension that real rulesets and Docker's own were seen to use."""

Refusals = Mapping[str, Mapping[str, str]]
"""Program that works -> extension it refuses -> why."""


def try_extensions(extensions: Sequence[Extension]) -> Refusals:
    """Load a rule with each of `extensions` into every iptables program, in the calling thread's namespace.

    Programs that do not work at all are not among the keys.
    """
    reasons: dict[str, str] = {}
    if any("{set}" in extension.rule for extension in extensions):
        try:
            make_ip_sets()
        except Refused as error:
            reasons = {item.name: str(error) for item in extensions if "{set}" in item.rule}
    refusals: dict[str, Mapping[str, str]] = {}
    for program in PROGRAMS:
        suited = [item for item in extensions if version_of(program) in item.versions]
        refused = _refused(program, [item for item in suited if item.name not in reasons])
        if refused or not suited:
            try:
                probe_iptables(program)
            except Refused:
                continue  # the program's own row says why
        refusals[program] = {
            **{item.name: reasons[item.name] for item in suited if item.name in reasons},
            **refused,
        }
    return refusals


def version_of(program: str) -> int:
    """The version of IP that an iptables program filters."""
    return 6 if program.startswith("ip6") else 4


def _refused(program: str, extensions: Sequence[Extension]) -> dict[str, str]:
    """Which of them the program refuses, and why; found by halving."""
    try:
        run(f"{program}-restore", text=_ruleset(extensions, version_of(program)))
    except Refused as error:
        if len(extensions) <= 1:
            return {item.name: str(error) for item in extensions}
        middle = len(extensions) // 2
        return _refused(program, extensions[:middle]) | _refused(program, extensions[middle:])
    return {}


def _ruleset(extensions: Iterable[Extension], version: int) -> str:
    tables: dict[str, list[str]] = {}
    for extension in extensions:
        tables.setdefault(extension.table, []).append(extension.line(version))
    return "".join("\n".join((f"*{table}", *lines, "COMMIT\n")) for table, lines in tables.items())
