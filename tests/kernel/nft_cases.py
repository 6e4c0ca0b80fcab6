"""Native rules, and rules of iptables beside them, that the kernel judges: each kind at least once."""

from __future__ import annotations

BY_HOOK = """
table inet filter {
    set clients { type ipv4_addr; flags interval; elements = { 10.1.0.0/24, 10.3.0.3-10.3.0.9 } }
    set clients6 { type ipv6_addr; flags interval; elements = { fd00:1::/64, fd00:3::3 } }
    map ports { type inet_service : verdict; elements = { 22 : drop, 53 : jump dns, 443 : goto tls } }
    chain dns {
        counter return
    }
    chain tls {
        meta l4proto udp counter drop
        counter
    }
    chain input {
        type filter hook input priority filter; policy accept;
        ct state vmap { established : accept, related : accept, invalid : drop }
        iif lo counter accept
        counter tcp dport vmap @ports
        udp dport vmap @ports
        ip saddr @clients counter
        ip6 saddr @clients6 counter
        icmp type echo-request counter accept
        icmpv6 type { echo-request, nd-neighbor-solicit } counter accept
        counter reject
    }
    chain forward {
        type filter hook forward priority filter; policy drop;
        ct state established,related counter accept
        ct state invalid counter drop
        iifname "eth*" oifname { "eth1", "eth2" } counter jump from_clients
        iifname "br0" counter tcp dport { 80, 443, 1000-2000 } counter accept
    }
    chain from_clients {
        tcp dport 80 counter accept
        udp dport 53 ip saddr @clients counter accept
        udp dport 53 ip6 saddr . udp dport { fd00:1::2 . 53, fd00:1::3 . 54 } counter accept
        meta l4proto { tcp, sctp } th dport 80-8080 counter reject with icmpx admin-prohibited
        meta l4proto 47 counter return
        counter
    }
    chain output {
        type filter hook output priority filter; policy accept;
        meta skuid 0 counter
        oifname != "lo" udp dport 80 counter
        tcp flags syn counter reject with tcp reset
    }
}
"""

EVERYWHERE = """
    ct state new
    ct state established,related
    ct state { new, untracked }
    ct state != established
    ct state & (new | invalid) != 0
    ct status dnat
    ct status snat,dnat
    ct status & (snat | dnat) == dnat
    ct direction original
    ct direction != original
    ct original ip saddr 10.1.0.0/24
    ct original ip daddr != 10.2.0.2
    ct original ip6 saddr fd00:1::/64
    ct reply ip saddr 10.2.0.2
    meta l4proto tcp ct original proto-dst 80
    meta l4proto udp ct reply proto-src != 53
    ct mark & 0xff == 1
    ct mark & 0xff != 1
    ct mark 0
    ct mark != 0
    ct mark { 1-5, 8 }
    ct mark > 3
    ct l3proto ipv4
    ct protocol tcp
    meta mark & 0xf0 != 0x10
    meta mark 0x15
    meta mark { 1, 2-5 }
    meta mark and 0x3 xor 0x1 == 0
    meta mark or 0x3 == 0x17
    tcp dport { 80, 443, 1000-2000 }
    tcp dport != 80
    tcp dport < 1024
    tcp dport >= 443
    tcp sport 80
    tcp flags syn
    tcp flags & (fin | syn | rst | ack) == syn
    tcp flags != syn
    tcp flags { syn, syn | ack }
    tcp flags ! syn,rst
    tcp flags & ack == 0
    udp dport 53
    udp sport != 53
    sctp dport 80
    th dport 80
    meta l4proto { tcp, udp } th dport != 80
    ip saddr 10.0.0.0/8
    ip saddr != { 10.1.0.2, 10.3.0.3 }
    ip saddr { 10.1.0.0-10.1.0.3, 10.3.0.0/16 }
    ip saddr & 255.0.0.255 == 10.0.0.2
    ip daddr 10.12.0.0/16
    ip6 saddr fd00:1::/64
    ip6 saddr != fd00:1::2
    ip saddr @plain
    ip saddr != @plain
    ip daddr . tcp dport @pairs
    ip daddr . th dport @wide
    iifname @cards
    iifname "eth*"
    iifname != "eth*"
    iifname { "eth0", "br0" }
    iif lo
    iif != "eth0"
    iifname . meta l4proto { "eth0" . tcp, "br0" . udp }
    ip protocol { tcp, udp }
    ip protocol != tcp
    ip6 nexthdr tcp
    ip6 nexthdr { udp, icmpv6 }
    meta l4proto { tcp, 47 }
    meta l4proto != icmp
    meta nfproto ipv6
    meta nfproto != ipv6
    meta protocol ip
    meta pkttype host
    meta pkttype != host
    meta length > 100
    meta length 28-60
    icmp type echo-request
    icmp type { echo-request, destination-unreachable }
    icmp type != echo-request
    icmp code 0
    icmpv6 type echo-request
    icmpv6 type { nd-neighbor-solicit, echo-request }
    ip dscp cs1
    ip dscp != cs1
    ip dscp < 11
    ip6 dscp af11
    ip ecn not-ect
    ip6 ecn != not-ect
    ip ttl 5
    ip ttl < 63
    ip6 hoplimit >= 63
    ip length 600
    ip6 length 20-90
    ip version 4
    ip hdrlength 5
    ip frag-off & 0x1fff == 0
"""

BEFORE_LEAVING = """
    fib daddr type local
    fib daddr type { local, broadcast }
    fib saddr type local
    fib saddr type unicast
    fib daddr type != local
"""

COMING_IN = """
    fib saddr . iif oif missing
    fib saddr . iif oif exists
    fib saddr oif exists
    fib saddr . iif oifname "eth0"
    fib daddr . iif type local
    ether saddr 02:00:00:01:01:02
    ether saddr != 02:00:00:01:01:02
    meta iifname "br0" ip daddr != 10.1.0.1
"""

GOING_OUT = """
    oifname "eth*"
    oifname { "eth1", "lo" }
    oif lo
    oif != "eth1"
    meta skuid 0
    meta skuid != 0
    meta skuid < 1000
    meta skgid 0-100
"""

SETS = """
    set plain { type ipv4_addr; elements = { 10.1.0.2, 10.3.0.3 }; }
    set pairs { type ipv4_addr . inet_service; elements = { 10.2.0.2 . 80, 10.1.0.1 . 22 }; }
    set wide {
        type ipv4_addr . inet_service; flags interval; elements = { 10.2.0.0/24 . 80-90, 10.1.0.1 . 443 };
    }
    set cards { type ifname; flags interval; elements = { "br*", "eth1" }; }
"""

EFFECTS = """
table inet effects {
    map marks { type inet_service : mark; elements = { 80 : 0x5, 53 : 0x6 }; }
    chain second {
        counter meta mark 0x105 counter return
        counter
    }
    chain prerouting {
        type filter hook prerouting priority mangle
        meta mark set tcp dport map @marks counter
        udp dport 53 meta mark set 7 meta mark 7 counter meta mark set 8 meta mark 7 counter
        meta mark 5 meta mark set meta mark | 0x100 counter goto second
        meta mark set meta mark and 0xff0f or 0x20 counter
        ct mark set meta mark counter
        ct mark & 0xf == 5 ct mark set ct mark or 0x40 counter
        tcp dport vmap { 80 : continue, 443 : accept, 22 : return } meta mark set 0x9 counter
        meta mark set ct mark and 0xff counter
        udp dport 53 ct mark set 0x77 accept
        counter
    }
    chain forward {
        type filter hook forward priority filter
        ct mark 0x45 counter
        ct mark 0x77 counter
        meta mark 0x9 counter
        ip dscp set cs1 counter
        ip6 dscp set af11 counter
        ip dscp cs1 counter
        ip ttl 4 ip ttl set 77 counter
        tcp dport 8080 tcp dport set 8081 counter
        tcp dport 8081 counter reject with icmpx host-unreachable
        meta l4proto sctp counter reject
        meta l4proto 47 counter drop
    }
    chain input {
        type filter hook input priority filter; policy drop;
        meta mark set 1
        meta mark vmap { 1 : jump rewriting, 2 : jump rewriting, 3 : drop }
        counter accept
    }
    chain rewriting {
        meta mark 1 meta mark set 2 counter
        meta mark 2 counter
    }
    chain output {
        type route hook output priority mangle
        udp dport 80 meta mark set 0x10 counter
    }
    chain later {
        type filter hook output priority filter
        oifname "eth0" counter
        oifname "eth1" counter
        tcp dport 80 meta mark set 0x10 counter
    }
}
table ip asleep {
    flags dormant
    chain forward {
        type filter hook forward priority filter; policy drop;
    }
}
"""

TRANSLATIONS = """
table inet translating {
    map published {
        type ipv4_addr . inet_service : ipv4_addr . inet_service
        elements = { 10.1.0.1 . 22 : 10.2.0.5 . 2222 }
    }
    map published6 {
        type ipv6_addr . inet_service : ipv6_addr . inet_service
        elements = { fd00:1::1 . 22 : fd00:2::5 . 2222 }
    }
    map inner { type inet_service : inet_service; elements = { 53 : 5353, 8080 : 80 }; }
    chain before {
        type nat hook prerouting priority dstnat - 10
        counter udp dport 443 redirect to :4430
        counter
    }
    chain prerouting {
        type nat hook prerouting priority dstnat
        counter dnat ip to ip daddr . tcp dport map @published
        counter dnat ip6 to ip6 daddr . tcp dport map @published6
        ip daddr 10.12.7.9 meta l4proto { tcp, udp } counter dnat ip to 10.2.0.7:th dport map @inner
        ip6 daddr fd00:12:7::9 counter dnat ip6 to fd00:2::7
        iifname "br0" meta nfproto ipv4 counter dnat ip prefix to ip daddr map { 10.2.0.0/24 : 10.12.7.0/24 }
        counter
    }
    chain output {
        type nat hook output priority -100
        oifname != "lo" udp dport 80 counter redirect to :8000
        counter accept
    }
    chain after_output {
        type nat hook output priority -50
        counter
    }
    chain input {
        type nat hook input priority 100
        counter
    }
    chain postrouting {
        type nat hook postrouting priority srcnat
        ip saddr 10.1.0.2 ip daddr 10.2.0.2 meta l4proto tcp counter snat ip to 10.2.0.19-10.2.0.19
        ip6 saddr fd00:1::2 meta l4proto tcp counter snat ip6 to fd00:2::19
        oifname "eth1" udp dport 5353 counter masquerade
        meta l4proto 47 counter masquerade
        counter
    }
    chain forward {
        type filter hook forward priority filter
        ct status dnat counter
        ct status snat counter
        meta l4proto tcp ct original proto-dst 22 counter
        ct reply ip saddr 10.2.0.5 counter
        ct original ip6 daddr fd00:1::1 counter
        tcp dport 2222 counter
        tcp dport 80 counter drop
    }
    chain at_dstnat {
        type filter hook prerouting priority dstnat + 1
        th dport { 2222, 4430, 5353 } counter
    }
}
"""

IPTABLES = """
*raw
:PREROUTING ACCEPT [0:0]
:OUTPUT ACCEPT [0:0]
-A PREROUTING -p tcp -m tcp --dport 8080 -j CT --notrack
-A PREROUTING -m mark --mark 0x3 -j MARK --set-xmark 0x4/0xffffffff
-A PREROUTING -m mark --mark 0x0
COMMIT
*mangle
:PREROUTING ACCEPT [0:0]
:INPUT ACCEPT [0:0]
:FORWARD ACCEPT [0:0]
:OUTPUT ACCEPT [0:0]
:POSTROUTING ACCEPT [0:0]
-A PREROUTING -m mark --mark 0x3 -j MARK --set-xmark 0x4/0xffffffff
-A PREROUTING -m mark --mark 0x2 -j MARK --set-xmark 0x3/0xffffffff
-A FORWARD -m mark --mark 0x5
-A OUTPUT -p udp -m udp --dport 80 -j MARK --set-xmark 0x10/0xffffffff
COMMIT
*nat
:PREROUTING ACCEPT [0:0]
:INPUT ACCEPT [0:0]
:OUTPUT ACCEPT [0:0]
:POSTROUTING ACCEPT [0:0]
-A PREROUTING -p udp -m udp --dport 53 -j REDIRECT --to-ports 5300
-A POSTROUTING -p tcp -j MASQUERADE
COMMIT
*filter
:INPUT ACCEPT [0:0]
:FORWARD ACCEPT [0:0]
:OUTPUT ACCEPT [0:0]
-A INPUT -p tcp -m tcp --dport 22 -j DROP
-A FORWARD -i br0 -j REJECT --reject-with REJECTION
-A FORWARD -m conntrack --ctstate DNAT
-A OUTPUT -m mark --mark 0x10
COMMIT
"""

FROM_OUTSIDE = "meta secpath missing"
