"""A real Docker engine in namespaces of its own, to be compared with what `netverify.docker` writes.

`Engine` starts dockerd in a new network, mount and process namespace, with its own /run, its own data and
its own control group, and asks it over its API. The engine is the machine's own (root "/") or one that was
unpacked somewhere else. It has no network but what it makes itself; nothing it does reaches the machine's.

Nothing survives it. The first process of its namespaces only waits for the end of its standard input, which
the kernel closes when netverify ends, however that happens; with it the kernel ends all others. A shell
outside, which waits for that, then removes the control groups and the working folder.
"""

from __future__ import annotations

import http.client
import io
import json
import os
import socket
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path
from types import TracebackType
from typing import Any, Final
from urllib.parse import quote

from netverify.docker import DockerHost
from netverify.docker.requests import (
    container_requests,
    daemon_environment,
    daemon_options,
    network_request,
)
from netverify.errors import KernelError, MissingCapability
from netverify.ruleset import NftRuleset, Ruleset

Done = subprocess.CompletedProcess[str]
"""A command that ended, as `collect.Run` returns it."""
IMAGE: Final = "netverify-busybox"
COMMAND: Final = ("/busybox", "sleep", "1000000")

_START_TIMEOUT = 60.0  # seconds; an engine on a slow machine takes 2 to 5
_CALL_TIMEOUT = 60.0

# Runs outside the namespaces. $1: the working folder, $2: the root.
_KEEPER = """
unshare --net --mount --pid --fork sh -ec "$SETUP" sh "$1" "$2"
find /sys/fs/cgroup -mindepth 1 -depth -type d -path "*/${1##*/}*" -exec rmdir {} + 2>"$1/left"
rm -rf "$1"
"""

# Runs as the first process of the namespaces, and tells its number outside: /proc is still the outer one.
_SETUP = """
read -r pid rest </proc/self/stat
root=${2%/}
mkdir "$1/cgroup"
mount --rbind /sys/fs/cgroup "$1/cgroup"
if [ -n "$root" ]; then
    mount --bind "$root" "$root"
    mount --rbind /dev "$root/dev"
fi
mount -t proc proc /proc
[ -z "$root" ] || mount --bind /proc "$root/proc"
mount -t sysfs sysfs "$root/sys"
mount --rbind "$1/cgroup" "$root/sys/fs/cgroup"
mkdir -p "$root/var/lib/docker" "$root/var/lib/containerd"
for folder in run var/lib/docker var/lib/containerd; do
    mount -t tmpfs -o mode=0755 tmpfs "$root/$folder"
done
mkdir "$root/run/netverify"
mount --bind "$1" "$root/run/netverify"
ip link set lo up
ip link add eth0 type veth peer name peer0
ip address add 192.0.2.1/24 dev eth0
ip address add 2001:db8::1/64 dev eth0 nodad
ip link set eth0 up
ip link set peer0 up
echo "$FORWARDING" >/proc/sys/net/ipv4/ip_forward
echo "$FORWARDING" >/proc/sys/net/ipv6/conf/all/forwarding
echo "$FORWARDING" >/proc/sys/net/ipv6/conf/default/forwarding
echo "ready $pid"
cat >"$1/stdin"
"""


class EngineError(KernelError):
    """The engine did not start, or refused a request; the message holds its own words."""


def _address(text: str) -> IPv4Address | IPv6Address:
    """An address of /proc/net/tcp: words of 32 bits, each as this machine holds it in memory."""
    words = [int(text[at : at + 8], 16).to_bytes(4, sys.byteorder) for at in range(0, len(text), 8)]
    return ip_address(b"".join(words))


def _processes() -> list[str]:
    return [path.name for path in Path("/proc").iterdir() if path.name.isdecimal()]


def _is_proxy(number: int, home: int) -> bool:
    """Whether a process is a docker-proxy in the network namespace of that inode number."""
    try:
        named = Path(f"/proc/{number}/comm").read_text().strip() == "docker-proxy"
        return named and Path(f"/proc/{number}/ns/net").stat().st_ino == home
    except (FileNotFoundError, ProcessLookupError):
        return False  # it ended while we looked


def _last_of(keeper: subprocess.Popen[str]) -> str:
    return "" if keeper.stderr is None else keeper.stderr.read().strip()


def _end(keeper: subprocess.Popen[str]) -> None:
    """Close the input that the namespaces live by, and wait until all is removed."""
    if keeper.stdin is not None and not keeper.stdin.closed:
        keeper.stdin.close()
    keeper.wait()
    for stream in (keeper.stdout, keeper.stderr):
        if stream is not None:
            stream.close()


class ApiConnection(http.client.HTTPConnection):
    """HTTP over a unix socket."""

    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=_CALL_TIMEOUT)
        self.path = path

    def connect(self) -> None:
        """Open the socket."""
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self.path))


def installed_version(root: Path = Path("/")) -> str:
    """The version of the engine under `root`, as dockerd prints it. Raises MissingCapability."""
    program = root / "usr/sbin/dockerd"
    if os.geteuid() != 0 or not program.exists():
        raise MissingCapability(
            "a Docker engine",
            f"{program} is not there" if os.geteuid() == 0 else "dockerd runs as root only",
            "Run `make engines` as root: it fetches Debian's packages and installs nothing",
        )
    command = ["chroot", str(root), "/usr/sbin/dockerd", "--version"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    words = done.stdout.replace(",", "").split()  # Docker version 28.5.2, build 1234567
    if done.returncode != 0 or len(words) < 3:
        raise EngineError(f"{program} --version: {(done.stderr or done.stdout).strip()}")
    return words[2]


def has_sctp() -> bool:
    """Whether the kernel has SCTP's sockets, without which an engine refuses to publish its ports."""
    try:
        socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_SCTP).close()
    except OSError:
        return False
    return True


class Engine:
    """A dockerd in namespaces of its own. Use it in a `with` block; its end is the end of all that it made.

    Inside, the host has eth0 with 192.0.2.1/24 and 2001:db8::1/64, and nobody on the other side.
    """

    def __init__(self, root: Path = Path("/"), *, forwarding: bool = False) -> None:
        """`root` is where the engine is installed; `forwarding` makes its host one that forwards already."""
        self.root = root
        self.version = ""
        self.environment: dict[str, str] = {}  # of dockerd, beside what its host demands
        self._forwarding = forwarding
        self._stack = ExitStack()
        self._work = Path()
        self._inside: list[str] = []
        self._keeper: subprocess.Popen[str]
        self._daemon: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Engine:
        installed_version(self.root)
        with ExitStack() as stack:
            self._work = Path(tempfile.mkdtemp(prefix="netverify-engine-"))
            keeper = subprocess.Popen(
                ["sh", "-c", _KEEPER, "sh", str(self._work), str(self.root)],
                env={**os.environ, "SETUP": _SETUP, "FORWARDING": str(int(self._forwarding))},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                start_new_session=True,  # a terminal's Ctrl-C is for netverify, which then ends this
            )
            stack.callback(self._reap)
            stack.callback(_end, keeper)
            self._keeper = keeper
            said = keeper.stdout.readline().split() if keeper.stdout is not None else []
            if said[:1] != ["ready"]:
                raise EngineError(f"no namespaces for an engine: {_last_of(keeper)}")
            self._inside = ["nsenter", "--target", said[1], "--net", "--mount", "--pid"]
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def start(self, host: DockerHost) -> None:
        """Start the daemon as `host` describes it, and wait until it says that it is ready."""
        (self._work / "notify").unlink(missing_ok=True)
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
            notify.bind(str(self._work / "notify"))
            notify.settimeout(_START_TIMEOUT)
            command = [
                "dockerd",
                "--host=unix:///run/netverify/docker.sock",
                "--pidfile=/run/docker.pid",
                "--storage-driver=vfs",
                f"--cgroup-parent=/{self._work.name}",
                "--exec-opt=native.cgroupdriver=cgroupfs",
                *daemon_options(host),
            ]
            with (self._work / "log").open("wb") as log:
                variables = {
                    "NOTIFY_SOCKET": "/run/netverify/notify",
                    **daemon_environment(host),
                    **self.environment,
                }
                self._daemon = subprocess.Popen(
                    self._chroot("env", *(f"{name}={value}" for name, value in variables.items()), *command),
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                )
            self._await_ready(notify, self._daemon)
        self.version = str(self.call("GET", "/version")["Version"])

    def stop(self) -> None:
        """Stop the daemon, and with it its containers, as a service manager would."""
        self.run("sh", "-c", "kill $(cat /run/docker.pid)")
        if self._daemon is not None:
            self._daemon.wait(_CALL_TIMEOUT)

    def create(self, host: DockerHost) -> None:
        """Make the host's networks and start its containers, each in its order."""
        for network in host.networks:
            if not network.default:
                self.call("POST", "/networks/create", network_request(network))
        requests = container_requests(host, IMAGE, COMMAND)
        if requests:
            self._import_image()
        for request in requests:
            self.call("POST", f"/containers/create?name={quote(request.name)}", request.body)
            for network_name, body in request.joins.items():
                self.call("POST", f"/networks/{quote(network_name)}/connect", body)
            self.call("POST", f"/containers/{quote(request.name)}/start")

    def run_container(self, name: str, body: Mapping[str, Any]) -> None:
        """Start one more container; `body` is that of POST /containers/create."""
        self._import_image()
        self.call("POST", f"/containers/create?name={quote(name)}", dict(body))
        self.call("POST", f"/containers/{quote(name)}/start")

    def remove_container(self, name: str) -> None:
        """Stop and remove a container."""
        self.call("DELETE", f"/containers/{quote(name)}?force=true")

    def load(self, ipv4: Ruleset, ipv6: Ruleset) -> None:
        """Put these rules in place of all that stand now."""
        for program, ruleset in (("iptables-restore", ipv4), ("ip6tables-restore", ipv6)):
            self.run(program, stdin=ruleset.render())

    def abandon(self) -> None:
        """What the kernel does when the process that holds the engine dies, and then wait for the effect."""
        _end(self._keeper)

    @property
    def folder(self) -> Path:
        """The engine's folder, which is /run/netverify to the engine itself."""
        return self._work

    @property
    def name(self) -> str:
        """What the engine's folder, control groups and processes have in their names."""
        return self._work.name

    def namespace_path(self, container: str = "") -> str:
        """A path that opens the network namespace of a running container, or else of the engine's host."""
        first = f"/proc/{self._inside[2]}"
        if not container:
            return f"{first}/ns/net"
        # Docker knows the numbers that processes have inside, as the /proc that is mounted there does.
        number = self.call("GET", f"/containers/{quote(container)}/json")["State"]["Pid"]
        return f"{first}/root/proc/{number}/ns/net"

    def iptables(self) -> tuple[Ruleset, Ruleset]:
        """The rules that stand now, of IPv4 and of IPv6."""
        ipv4 = Ruleset.parse(self.run("iptables-save"), family="ipv4")
        return ipv4, Ruleset.parse(self.run("ip6tables-save"), family="ipv6")

    def nftables(self) -> NftRuleset:
        """Everything that nftables holds now."""
        return NftRuleset.parse(self.run("nft", "-j", "list", "ruleset"))

    def sysctls(self, keys: Iterable[str]) -> dict[str, str]:
        """Settings of the engine's host; as in sysctl(8), a dot within a device's name is a slash."""
        names = list(keys)
        swapped = [f"/proc/sys/{key.translate(str.maketrans('./', '/.'))}" for key in names]
        values = self.run("cat", *swapped).splitlines() if names else []
        return dict(zip(names, values, strict=True))

    def sockets(self) -> set[tuple[str, IPv4Address | IPv6Address, int]]:
        """Where somebody listens on the engine's host: protocol, address, port (proc(5), /proc/net/tcp)."""
        found = set()
        for name, listening in (("tcp", "0A"), ("tcp6", "0A"), ("udp", "07"), ("udp6", "07")):
            for line in self.run("cat", f"/proc/net/{name}").splitlines()[1:]:
                _number, local, _remote, state, *_ = line.split()
                if state == listening:
                    address, _, port = local.partition(":")
                    found.add((name[:3], _address(address), int(port, 16)))
        return found

    def proxies(self) -> tuple[int, ...]:
        """The userland proxies that run now, by their process numbers as seen from outside."""
        home = Path(self.namespace_path()).stat().st_ino
        return tuple(number for number in map(int, _processes()) if _is_proxy(number, home))

    def run(self, *command: str, stdin: str = "") -> str:
        """What a command in the engine's root and namespaces prints. Raises EngineError if it fails."""
        done = subprocess.run(
            self._chroot(*command), input=stdin, capture_output=True, text=True, check=False
        )
        if done.returncode != 0:
            raise EngineError(f"{' '.join(command)} in the engine's namespaces: {done.stderr.strip()}")
        return done.stdout

    def call(
        self, method: str, path: str, body: Any = None, kind: str = "application/json"
    ) -> dict[str, Any]:
        """One request to the engine's API; returns the answer's JSON object. Raises EngineError."""
        answer = self._answer(method, path, body, kind)
        return answer if isinstance(answer, dict) else {}

    def ask(self, path: str) -> Any:
        """What the engine's API has at a path, as JSON. Raises EngineError."""
        return self._answer("GET", path, None, "application/json")

    @property
    def socket_path(self) -> Path:
        """Where the engine's API is, seen from outside."""
        return self._work / "docker.sock"

    def _answer(self, method: str, path: str, body: Any, kind: str) -> Any:
        data = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        connection = ApiConnection(self.socket_path)
        try:
            connection.request(method, path, data, {"Content-Type": kind})
            response = connection.getresponse()
            text = response.read().decode(errors="replace")
        finally:
            connection.close()
        if response.status >= 400 or '"errorDetail"' in text:
            raise EngineError(f"Docker {self.version}: {method} {path}: {text.strip()}\n{self._last_words()}")
        return json.loads(text) if text.lstrip()[:1] in ("{", "[") and kind == "application/json" else {}

    def _import_image(self) -> None:
        """Give the engine an image with a statically linked busybox and nothing else."""
        programs = [self.root / folder / "busybox" for folder in ("usr/bin", "bin")]
        found = next((path for path in programs if path.exists()), None)
        if found is None:
            raise MissingCapability(
                "busybox", f"no busybox under {self.root}", "Install it: apt-get install busybox-static"
            )
        archive = io.BytesIO()
        with tarfile.open(fileobj=archive, mode="w") as tar:
            tar.add(found.resolve(), "busybox")
        self.call("POST", f"/images/create?fromSrc=-&repo={IMAGE}", archive.getvalue(), "application/x-tar")

    def _chroot(self, *command: str) -> list[str]:
        path = "PATH=/usr/sbin:/usr/bin:/sbin:/bin"
        return [*self._inside, "chroot", str(self.root), "/usr/bin/env", "-i", path, *command]

    def _reap(self) -> None:
        if self._daemon is not None:
            self._daemon.wait()

    def _await_ready(self, notify: socket.socket, daemon: subprocess.Popen[bytes]) -> None:
        try:
            while b"READY=1" not in notify.recv(4096):
                pass
        except TimeoutError:
            ended = "" if daemon.poll() is None else f" (it ended with {daemon.returncode})"
            raise EngineError(
                f"dockerd was not ready in {_START_TIMEOUT:.0f} s{ended}:\n{self._last_words()}"
            ) from None

    def _last_words(self) -> str:
        return "\n".join((self._work / "log").read_text(errors="replace").splitlines()[-8:])
