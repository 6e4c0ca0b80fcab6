"""A held lab: its drawing, the way in, and services that say whom they see."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

TOPOLOGIES = Path(__file__).parents[2] / "fixtures" / "topologies"
ASK = """
import socket, sys
try:
    with socket.create_connection((sys.argv[1], int(sys.argv[2])), timeout=3) as connection:
        print(connection.recv(200).decode(), end="")
except OSError as error:
    print(type(error).__name__)
"""
ASK_UDP = """
import socket, sys
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
    sock.settimeout(3)
    sock.sendto(b"hello", (sys.argv[1], int(sys.argv[2])))
    print(sock.recv(200).decode(), end="")
"""


class Held:
    """`netverify lab FILE`, running."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        assert process.stdout is not None
        self.process = process
        self.printed = ""
        while "Held until" not in self.printed:
            line = process.stdout.readline()
            assert line, self.printed
            self.printed += line

    def ask(self, node: str, address: str, port: int, script: str = ASK) -> str:
        way_in = re.search(rf"^  {node} +(nsenter .*)$", self.printed, re.MULTILINE)
        assert way_in is not None
        command = [*way_in[1].split(), sys.executable, "-c", script, address, str(port)]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout


@pytest.fixture
def held(tmp_path: Path) -> Iterator[Held]:
    text = (TOPOLOGIES / "docker-published.yaml").read_text()
    file = tmp_path / "docker-published.yaml"
    file.write_text(text.replace("listen: tcp/22", "listen: [tcp/22, udp/53]"))
    command = [sys.executable, "-m", "netverify", "lab", str(file)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        yield Held(process)
    finally:
        process.send_signal(signal.SIGINT)
        rest = process.communicate(timeout=20)[0]
    assert process.returncode == 0, rest
    assert rest.endswith("Gone.\n")


def test_services_and_proxies(held: Held) -> None:
    assert "br-web  172.18.0.1/16" in held.printed
    # DNAT keeps the neighbour's address; a container of another bridge comes through the proxy.
    assert held.ask("neighbour", "198.51.100.10", 8080).startswith("web1 tcp/80 sees you as 198.51.100.20:")
    assert held.ask("other", "198.51.100.10", 8080).startswith("web1 tcp/80 sees you as 172.18.0.1:")
    assert held.ask("neighbour", "198.51.100.10", 9) == "ConnectionRefusedError\n"
    answer = held.ask("web2", "198.51.100.10", 53, ASK_UDP)
    assert re.fullmatch(r"host udp/53 sees you as 172\.18\.0\.3:\d+\nhello", answer)
