"""Three bridges that a filter keeps apart, as Docker does."""

from __future__ import annotations

BRIDGES = ("br-a", "br-b", "br-c")
ISOLATED = """*filter
:FORWARD ACCEPT [0:0]
:STAGE1 - [0:0]
:STAGE2 - [0:0]
-A FORWARD -j STAGE1
-A FORWARD -o br-c -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A FORWARD -i eth0 -p tcp -m tcp --dport 80 -j ACCEPT
-A FORWARD -i eth0 -j DROP
-A STAGE1 -i br-a ! -o br-a -j STAGE2
-A STAGE1 -i br-b ! -o br-b -j STAGE2
-A STAGE2 -o br-a -j DROP
-A STAGE2 -o br-b -j DROP
COMMIT
"""
