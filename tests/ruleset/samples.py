"""Rules as iptables-save and ip6tables-save write them: one or more of every extension in the vocabulary.

Each line is `table rule`. Those of LOADABLE are exactly what iptables 1.8.9 prints after loading them, with
both backends; those of WRITABLE need parts that a test machine rarely has (ipset, nfacct, SELinux, ...), or a
file of names that differs from machine to machine.
"""

from __future__ import annotations

from collections import defaultdict

from netverify.ruleset import Family, Ruleset
from netverify.ruleset.vocabulary import BUILTIN_CHAINS

LOADABLE_IPV4 = r"""
filter -A INPUT
filter -A INPUT -j ACCEPT
filter -A INPUT -j USER
filter -A INPUT -g USER
filter -A FORWARD -s 10.0.0.0/8 -d 10.1.2.3/32 -i eth0 -o br-9559b3f84d38 -p tcp -f -j ACCEPT
filter -A INPUT ! -s 10.0.0.0/255.0.255.0 ! -d 10.1.2.3/32 ! -i eth+ ! -p tcp ! -f -j ACCEPT
filter -A INPUT -m addrtype --src-type UNICAST ! --dst-type LOCAL --limit-iface-in -j ACCEPT
filter -A INPUT -p ah -m ah ! --ahspi 1:2 -j ACCEPT
filter -A INPUT -m bpf --bytecode "4,48 0 0 9,21 0 1 6,6 0 0 1,6 0 0 0" -j DROP
filter -A INPUT -m cgroup ! --cgroup 5 -j DROP
filter -A INPUT -m comment --comment abc -j DROP
filter -A INPUT -m comment --comment "a b.c" -j DROP
filter -A INPUT -m comment --comment "a \"b\" c\\d \'x\'" -j DROP
filter -A INPUT -m comment --comment -j -j DROP
filter -A INPUT -m comment --comment --dport -j DROP
filter -A INPUT -m comment --comment "" -j DROP
filter -A INPUT -m comment --comment "!" -j DROP
filter -A INPUT -m comment --comment "ö" -j DROP
filter -A INPUT -m connbytes --connbytes 10000:100000 --connbytes-mode bytes --connbytes-dir both -j DROP
filter -A INPUT -p tcp -m connlimit --connlimit-above 10 --connlimit-mask 24 --connlimit-saddr -j DROP
filter -A INPUT -m connmark ! --mark 0x1/0xff -j DROP
filter -A INPUT -m conntrack ! --ctstate NEW --ctproto 6 --ctorigsrc 10.0.0.0/8 ! --ctorigdst 10.1.1.1 -j DROP
filter -A INPUT -p tcp -m conntrack --ctorigdstport 80:90 --ctexpire 1:5 --ctdir ORIGINAL -j DROP
filter -A INPUT -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
filter -A INPUT -m cpu --cpu 1 -j ACCEPT
filter -A INPUT -p dccp -m dccp --dport 5 --dccp-types REQUEST,RESPONSE -j ACCEPT
filter -A INPUT -m devgroup --src-group 0x1 -j ACCEPT
filter -A INPUT -m dscp --dscp 0x10 -j ACCEPT
filter -A INPUT -p tcp -m ecn ! --ecn-tcp-ece --ecn-tcp-cwr -j ACCEPT
filter -A INPUT -p esp -m esp --espspi 5 -j ACCEPT
filter -A INPUT -m hashlimit --hashlimit-upto 5/sec --hashlimit-burst 5 --hashlimit-mode srcip,dstport --hashlimit-name a --hashlimit-srcmask 24 -j ACCEPT
filter -A INPUT -m helper --helper ftp-2 -j ACCEPT
filter -A INPUT -p icmp -m icmp --icmp-type 8 -j ACCEPT
filter -A INPUT -p icmp -m icmp ! --icmp-type 3/4 -j ACCEPT
filter -A INPUT -p icmp -m icmp --icmp-type any -j ACCEPT
filter -A INPUT -p ipcomp -m ipcomp --ipcompspi 5 -j ACCEPT
filter -A INPUT -m iprange --src-range 10.0.0.1-10.0.0.9 ! --dst-range 10.0.1.1-10.0.1.9 -j ACCEPT
filter -A INPUT -m length --length 40:60 -j ACCEPT
filter -A INPUT -m limit --limit 5/min --limit-burst 10 -j ACCEPT
filter -A INPUT -m mac --mac-source 02:00:00:00:00:01 -j ACCEPT
filter -A INPUT -m mark ! --mark 0x1 -m mark --mark 0x4/0x4 -j ACCEPT
filter -A INPUT -p tcp -m multiport --sports 1:5,7 -m multiport ! --dports 80,443 -j ACCEPT
filter -A INPUT -p tcp -m multiport --ports 80 -j ACCEPT
filter -A OUTPUT -m owner --socket-exists --uid-owner 0 ! --gid-owner 0 -j ACCEPT
filter -A FORWARD -m physdev --physdev-in veth+ ! --physdev-is-bridged -j ACCEPT
filter -A INPUT -m pkttype --pkt-type broadcast -j ACCEPT
filter -A INPUT -m policy --dir in --pol none -j ACCEPT
filter -A INPUT -m policy --dir in --pol ipsec --strict --reqid 5 --proto esp --mode tunnel --tunnel-dst 1.2.3.4 --tunnel-src 1.2.3.5 --next --reqid 6 --proto ah -j ACCEPT
filter -A INPUT -m quota --quota 500 -j ACCEPT
filter -A INPUT -m realm --realm 0x5 -j ACCEPT
filter -A INPUT -m recent --rcheck --seconds 60 --hitcount 3 --rttl --name ssh --mask 255.255.255.255 --rsource -j DROP
filter -A INPUT -m recent ! --set --name -x --mask 255.255.255.255 --rsource
filter -A INPUT -p sctp -m sctp --dport 80:90 --chunk-types any DATA:Be,INIT -j ACCEPT
filter -A INPUT -m state --state RELATED,ESTABLISHED -j ACCEPT
filter -A INPUT -p tcp -m state --state NEW -m tcp --dport 22 -j ACCEPT
filter -A INPUT -m statistic --mode nth --every 3 --packet 1 -j ACCEPT
filter -A INPUT -m statistic --mode random --probability 0.50000000000 -j ACCEPT
filter -A INPUT -m string --string "abc d" --algo kmp --from 5 --to 50 --icase -j ACCEPT
filter -A INPUT -m string ! --hex-string "|0102|" --algo bm -j ACCEPT
filter -A INPUT -p tcp -m tcp --sport 1:5 ! --dport 80 --tcp-option 5 ! --tcp-flags FIN,SYN,RST,ACK SYN -j ACCEPT
filter -A INPUT -p tcp -m tcpmss --mss 500:600 -j ACCEPT
filter -A INPUT -m tos --tos 0x10/0x3f -j ACCEPT
filter -A INPUT -m ttl --ttl-eq 5 -j ACCEPT
filter -A INPUT -m u32 --u32 "0x0=0x1" -j ACCEPT
filter -A INPUT -p udp -m udp ! --sport 53 --dport 1:1024 -j ACCEPT
filter -A INPUT -p vrrp -j ACCEPT
filter -A INPUT -j AUDIT --type accept
filter -A FORWARD -p tcp -m tcp --tcp-flags SYN,RST SYN -j TCPMSS --clamp-mss-to-pmtu
filter -A INPUT -j REJECT --reject-with icmp-port-unreachable
filter -A INPUT -p tcp -j REJECT --reject-with tcp-reset
filter -A INPUT -j LOG
filter -A INPUT -j LOG --log-prefix "a b: " --log-level 7 --log-tcp-sequence --log-tcp-options --log-ip-options --log-uid --log-macdecode
filter -A INPUT -j LOG --log-prefix -j
filter -A INPUT -j NFLOG --nflog-prefix abc --nflog-group 5 --nflog-threshold 3
filter -A INPUT -j NFLOG --nflog-size 50
filter -A INPUT -j NFQUEUE --queue-balance 0:3 --queue-bypass --queue-cpu-fanout
filter -A INPUT -p tcp -j SYNPROXY --sack-perm --timestamp --wscale 7 --mss 1460
raw -A PREROUTING -m rpfilter --loose --validmark --invert -j DROP
raw -A PREROUTING -j CT --notrack
raw -A PREROUTING -p tcp -m tcp --dport 21 -j CT --helper ftp --zone 5
raw -A PREROUTING -j TRACE
mangle -A POSTROUTING -p udp -j CHECKSUM --checksum-fill
mangle -A POSTROUTING -j CLASSIFY --set-class 0001:0010
mangle -A PREROUTING -m socket --transparent --nowildcard -j ACCEPT
mangle -A PREROUTING -j CONNMARK --set-xmark 0x1/0xff
mangle -A PREROUTING -j CONNMARK --save-mark --nfmask 0xff --ctmask 0xff
mangle -A PREROUTING -j CONNMARK --restore-mark --nfmask 0xffffffff --ctmask 0xffffffff
mangle -A PREROUTING -j DSCP --set-dscp 0x10
mangle -A PREROUTING -j HMARK --hmark-src-prefix 32 --hmark-dst-prefix 32 --hmark-rnd 0x00000001 --hmark-mod 5 --hmark-offset 1
mangle -A PREROUTING -j TOS --set-tos 0x10/0x3f
mangle -A PREROUTING -j TTL --ttl-set 5
mangle -A PREROUTING -j MARK --set-xmark 0x1/0xffffffff
mangle -A PREROUTING -p tcp -j TPROXY --on-port 80 --on-ip 0.0.0.0 --tproxy-mark 0x1/0x1
mangle -A PREROUTING -j TEE --gateway 10.0.0.1
mangle -A FORWARD -p tcp -m tcp --tcp-flags SYN,RST SYN -j TCPMSS --set-mss 1400
mangle -A FORWARD -p tcp -j TCPOPTSTRIP --strip-options 5,6
nat -A PREROUTING -p tcp -m tcp --dport 80 -j DNAT --to-destination 10.0.0.1:80
nat -A PREROUTING -p tcp -m tcp --dport 80:90 -j DNAT --to-destination 10.0.0.1-10.0.0.9:80-90 --random --persistent
nat -A POSTROUTING -s 10.0.0.0/8 -j SNAT --to-source 1.2.3.4 --random-fully
nat -A POSTROUTING -p tcp -j MASQUERADE --to-ports 1024-2048 --random
nat -A PREROUTING -p tcp -j REDIRECT --to-ports 8080
nat -A PREROUTING -d 10.0.0.0/24 -j NETMAP --to 10.1.0.0/24
security -A INPUT -j ACCEPT
"""  # noqa: E501

LOADABLE_IPV6 = r"""
filter -A INPUT -s 2001:db8::/32 -d fe80::1/128 -i eth+ ! -p tcp -j ACCEPT
filter -A INPUT -s 2001::/ffff:0:ffff:: -j ACCEPT
filter -A INPUT -p ipv6-icmp -m icmp6 --icmpv6-type 128 -j ACCEPT
filter -A INPUT -p ipv6-icmp -m icmp6 ! --icmpv6-type 1/4 -j ACCEPT
filter -A INPUT -m ah --ahspi 5 --ahlen 12 --ahres -j ACCEPT
filter -A INPUT -m dst ! --dst-len 5 --dst-opts 1:4,2 -j ACCEPT
filter -A INPUT -m hbh --hbh-len 5 -j ACCEPT
filter -A INPUT -m eui64 -j ACCEPT
filter -A INPUT -m frag --fragid 1:5 --fragres --fragfirst -j ACCEPT
filter -A INPUT -m hl --hl-eq 255 -j ACCEPT
filter -A INPUT -m ipv6header --header hop-by-hop,ipv6-route --soft -j ACCEPT
filter -A INPUT -p mobility-header -m mh --mh-type 5 -j ACCEPT
filter -A INPUT -m rt --rt-type 0 --rt-segsleft 0 -j DROP
filter -A INPUT -m rt --rt-type 0 --rt-len 16 --rt-0-res --rt-0-addrs 2001:db8::1 -j DROP
filter -A INPUT -m srh --srh-next-hdr 17 --srh-hdr-len-eq 8 ! --srh-tag 0 -j DROP
filter -A INPUT -m iprange --src-range 2001:db8::1-2001:db8::9 -j DROP
filter -A INPUT -m conntrack --ctorigsrc 2001:db8::/32 -j ACCEPT
filter -A INPUT -j REJECT --reject-with icmp6-adm-prohibited
mangle -A PREROUTING -j HL --hl-set 5
nat -A PREROUTING -p tcp -m tcp --dport 80 -j DNAT --to-destination [2001:db8::1]:80
nat -A PREROUTING ! -s fe80::/10 -d 2001:db8::/64 -j NETMAP --to 2001:db9::/64
"""

WRITABLE = r"""
filter -A INPUT -p ospf -j DROP
filter -A INPUT -m cgroup --path "a.b" -j DROP
filter -A INPUT -m cluster --cluster-local-nodemask 0x00000001 --cluster-total-nodes 2 --cluster-hash-seed 0x00000001 -j DROP
filter -A INPUT -m connlabel --label "5" --set -j DROP
filter -A INPUT -m ipvs --ipvs --vproto 6 --vport 80 --vmethod MASQ -j ACCEPT
filter -A INPUT -m nfacct --nfacct-name foo -j ACCEPT
filter -A INPUT -p tcp -m osf --genre Linux --ttl 0 --log 0 -j ACCEPT
filter -A INPUT -m set ! --match-set foo src,dst -j ACCEPT
filter -A INPUT -m set --match-set -foo src --return-nomatch ! --packets-eq 5 -j ACCEPT
filter -A INPUT -m time --timestart 08:00:00 --timestop 17:00:00 --weekdays Mon,Tue --datestop 2038-01-19T03:14:07 --kerneltz -j ACCEPT
filter -A INPUT -j IDLETIMER --timeout 5 --label foo
filter -A INPUT -j LED --led-trigger-id "foo" --led-delay 5
filter -A INPUT -j SET --add-set foo src --exist --timeout 5
filter -A INPUT -j QUEUE
security -A INPUT -j SECMARK --selctx a:b
nat -A POSTROUTING -s 2001:db8::/64 -j SNPT --src-pfx 2001:db8::/64 --dst-pfx 2001:db9::/64
"""  # noqa: E501


def lines(sample: str) -> list[tuple[str, str]]:
    """Each line of a sample as table and rule."""
    split = (line.partition(" ") for line in sample.strip().splitlines())
    return [(table, rule) for table, _, rule in split]


def ruleset(sample: str, family: Family) -> Ruleset:
    """The sample as one ruleset, with its tables and chains in the order of their names."""
    rules: dict[str, list[str]] = defaultdict(list)
    for table, rule in lines(sample):
        rules[table].append(rule)
    text = ""
    for table, written in sorted(rules.items()):
        order = BUILTIN_CHAINS[table]
        chains = [f":{chain} ACCEPT [0:0]" for chain in order] + [":USER - [0:0]"]
        ordered = sorted(written, key=lambda line, order=order: order.index(line.split()[1]))
        text += "\n".join([f"*{table}", *chains, *ordered, "COMMIT\n"])
    return Ruleset.parse(text, family=family)
