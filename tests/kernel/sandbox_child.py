"""What tests of this folder have fresh Pythons do: `python sandbox_child.py DEED...`, one after the other.

Each deed that has something to say prints one JSON object.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from netverify.errors import SandboxError
from netverify.kernel import capabilities, sandbox, syscalls
from netverify.report import doctor

IPTABLES = ("iptables-legacy", "iptables-nft", "ip6tables-legacy", "ip6tables-nft")
RULE = ("-A", "INPUT", "-p", "tcp", "--dport", "80", "-j", "ACCEPT")


def tell(facts: Mapping[str, Any]) -> None:
    sys.stdout.write(json.dumps(facts))


def namespaces() -> dict[str, str]:
    """The namespaces that this process is in, as the kernel names them."""
    return {name: str(Path("/proc/self/ns", name).readlink()) for name in ("net", "mnt", "user")}


def output(*command: str) -> str:
    return subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout


def look() -> None:
    """Enter a sandbox and say what is to be found in it."""
    uid, before = os.geteuid(), namespaces()
    box = sandbox.enter()
    after = namespaces()
    again = sandbox.enter()
    forward = Path("/proc/sys/net/ipv4/ip_forward")
    forward.write_text("1")
    saved = {program: output(f"{program}-save") for program in IPTABLES}
    for program in IPTABLES:
        output(program, *RULE)
    Path("/run/ours").touch()
    with socket.create_server(("127.0.0.1", 0)) as server:
        socket.create_connection(server.getsockname(), timeout=5).close()
    tell(
        {
            "uid": uid,
            "uid inside": os.geteuid(),
            "outer uid": box.outer_uid,
            "outer gid": box.outer_gid,
            "rootless": box.rootless,
            "current": sandbox.current() is box and sandbox.require() is box,
            "before": before,
            "after": after,
            "again": again is box,
            "namespaces again": namespaces(),
            "links": [name for _, name in socket.if_nameindex()],
            "routes": output("ip", "route"),
            "saved": saved,
            "loaded": {program: output(f"{program}-save") for program in IPTABLES},
            "forward": forward.read_text().strip(),
            "run": sorted(path.name for path in Path("/run").iterdir()),
        }
    )


def enter() -> None:
    """Enter a sandbox, and leave a file there that a child must not find in its own."""
    sandbox.enter()
    Path("/run/parent").touch()


def descend() -> None:
    """Leave the remaining deeds to a child process, a fresh Python again."""
    deeds = sys.argv[sys.argv.index("descend") + 1 :]
    sys.stdout.write(output(sys.executable, __file__, *deeds))
    raise SystemExit


def vandalise() -> None:
    """Change everything that the state of a machine's network consists of."""
    for command in (
        "ip link set lo mtu 9000",
        "ip link add lan9 type veth peer name lan8",
        "ip link set lan9 up",
        "ip address add 203.0.113.1/24 dev lan9",
        "ip route add blackhole 198.51.100.7",
        "ip rule add from 192.0.2.7 table 7",
        "ip netns add vandal",
        "nft add table inet vandal",
        *(f"{program} -I FORWARD -j ACCEPT" for program in IPTABLES),
    ):
        output(*command.split())
    Path("/proc/sys/net/ipv4/ip_forward").write_text("1")
    Path("/run/vandal").touch()
    syscalls.mount("vandal", "/mnt", "tmpfs", 0)


def start_thread() -> None:
    """Go on with a second thread."""
    threading.Thread(target=threading.Event().wait, daemon=True).start()


def forbid() -> None:
    """Leave the remaining deeds to an ordinary user who may not make user namespaces.

    In a user namespace of its own a process sets a limit of its own; the machine's stays what it is. The next
    program that it runs is an ordinary user's: uid 1000 has no capabilities there.
    """
    uid, gid = os.geteuid(), os.getegid()
    syscalls.unshare(syscalls.CLONE_NEWUSER)
    Path("/proc/self/setgroups").write_text("deny")
    Path("/proc/self/uid_map").write_text(f"1000 {uid} 1")
    Path("/proc/self/gid_map").write_text(f"1000 {gid} 1")
    Path("/proc/sys/user/max_user_namespaces").write_text("0")
    deeds = sys.argv[sys.argv.index("forbid") + 1 :]
    os.execv(sys.executable, [sys.executable, __file__, *deeds])


def fail() -> None:
    """Try to enter a sandbox where that must fail, and say how it did."""
    before = namespaces()
    try:
        sandbox.enter()
    except SandboxError as error:
        message = str(error)
    else:
        message = ""
    current = sandbox.current() is not None
    tell({"message": message, "moved": namespaces() != before, "current": current, "uid": os.geteuid()})


def diagnose() -> None:
    """Say what this process finds that the machine can do."""
    sys.stdout.write(doctor.render_json(capabilities.detect()))


DEEDS = (look, enter, descend, vandalise, start_thread, forbid, fail, diagnose)

if __name__ == "__main__":
    named = {deed.__name__: deed for deed in DEEDS}
    for word in sys.argv[1:]:
        named[word]()
