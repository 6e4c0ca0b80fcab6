"""What the engine's client prints to who collects a snapshot, asked of the engine's API.

The client is not among what Debian ships with every engine. As a program this stands in for it: put a script
named `docker` on PATH that runs `python -m suites.engine.client SOCKET "$@"`.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from netverify.kernel.docker_engine import ApiConnection


def printed(get: Callable[[str], Any], words: Sequence[str]) -> str:
    """What the client prints; `get` asks a path of the API and returns its JSON."""
    if words[0] == "info":
        return json.dumps(get("/info"))
    if words[0] == "ps":
        return "".join(f"{each['Id']}\n" for each in get("/containers/json"))
    if list(words[:2]) == ["network", "ls"]:
        return "".join(f"{each['Id']}\n" for each in get("/networks"))
    if list(words[:2]) == ["network", "inspect"]:
        return json.dumps([get(f"/networks/{quote(name)}") for name in words[2:]])
    if list(words[:2]) == ["container", "inspect"]:
        return json.dumps([get(f"/containers/{quote(name)}/json") for name in words[2:]])
    raise ValueError(f"the collector asks the client for something new: {words}")


def _outside(number: int, name: str) -> int:
    """A process's number out here, of one that the engine called `name` started; 0 if it ended."""
    for status in Path("/proc").glob("[0-9]*/status"):
        try:
            line = next(line for line in status.read_text().splitlines() if line.startswith("NSpid:"))
            numbers = [int(word) for word in line.split()[1:]]
            if numbers[1:2] == [number] and name in status.with_name("cgroup").read_text():
                return numbers[0]
        except (FileNotFoundError, ProcessLookupError, StopIteration):
            continue  # it ended while we looked, or is a thread of the kernel
    return 0


def main() -> None:
    """Print what the client would, with the numbers of processes as they are out here."""
    path = Path(sys.argv[1])

    def get(wanted: str) -> Any:
        connection = ApiConnection(path)
        connection.request("GET", wanted)
        answer = json.load(connection.getresponse())
        if isinstance(answer, dict) and "State" in answer:
            answer["State"]["Pid"] = _outside(answer["State"]["Pid"], path.parent.name)
        return answer

    sys.stdout.write(printed(get, sys.argv[2:]))


if __name__ == "__main__":
    main()
