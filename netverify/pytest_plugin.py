"""The pytest plugin: the sandbox, the `lab` fixture, and failures that explain themselves.

With `netverify_sandbox = true` in the ini file, the pytest process moves into namespaces of its own before
it collects a single test (`kernel/sandbox.py`); each pytest-xdist worker does so too. Without it the plugin
only offers its fixtures, so that a project which merely has netverify installed is left alone.
"""

from __future__ import annotations

import argparse
import os
import platform
from collections.abc import Generator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from netverify.errors import MissingCapability, SandboxError

if TYPE_CHECKING:
    from xdist.workermanage import WorkerController

    from netverify.host import Parts
    from netverify.kernel.lab import Lab

CONTROLLER = "netverify_controller"  # in a pytest-xdist worker's input: the process number of who started it
COLLECTED = "netverify_snapshot"  # in the same: what --live found before the sandbox was entered
REASON: pytest.StashKey[str] = pytest.StashKey()
SNAPSHOT: pytest.StashKey[Parts] = pytest.StashKey()
FAILED: pytest.StashKey[bool] = pytest.StashKey()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Declare the ini option and the command line options."""
    parser.addini(
        "netverify_sandbox", "move into own namespaces before collecting", type="bool", default=False
    )
    group = parser.getgroup("netverify")
    group.addoption(
        "--backend",
        choices=("legacy", "nft"),
        help="iptables backend of the labs (default: what this machine's iptables is)",
    )
    group.addoption(
        "--require-kernel",
        action="store_true",
        default=os.environ.get("CI") == "true",
        help="fail, instead of skip, where this machine lacks a capability (default under CI=true)",
    )
    group.addoption(
        "--docker",
        type=_docker_version,
        metavar="VERSION",
        help="of the suites' tests of Docker's generations, those of this engine alone: 24.0, 29.0+nftables",
    )
    group.addoption("--snapshot", metavar="FILE", help="the host that suites/audit looks at: host.json")
    group.addoption("--live", action="store_true", help="suites/audit looks at this host as it is now")
    group.addoption(
        "--fail-on",
        choices=("info", "low", "medium", "high", "critical"),
        default="low",
        help="the least severity of a finding that fails a test of suites/audit (default: low)",
    )
    group.addoption("--accept", metavar="FILE", help="findings that suites/audit lets pass, with reasons")


def _docker_version(text: str) -> str:
    """Check that rules of this engine are known; argparse shows the error, which lists those that are."""
    from netverify.docker import DockerError, generation_of

    version, plus, backend = text.partition("+")
    if plus and backend != "nftables":
        raise argparse.ArgumentTypeError(f"{text!r}: after the + only nftables can stand: 29.0+nftables")
    try:
        generation_of(version, "nftables" if plus else "iptables")
    except DockerError as error:
        raise argparse.ArgumentTypeError(str(error)) from error
    return text


@pytest.hookimpl(tryfirst=True)
def pytest_load_initial_conftests(early_config: pytest.Config) -> None:
    """Look at the host if that is asked for, and then enter the sandbox, before anything else happens."""
    options = early_config.known_args_namespace
    if options.live and not hasattr(early_config, "workerinput"):
        from netverify.kernel import collect

        early_config.stash[SNAPSHOT] = collect.collect()
    if not early_config.getini("netverify_sandbox"):
        return
    from netverify.kernel import sandbox

    try:
        sandbox.enter()
    except SandboxError as error:
        if early_config.known_args_namespace.require_kernel:
            raise pytest.UsageError(f"netverify: {error}") from error
        early_config.stash[REASON] = str(error)


def pytest_configure(config: pytest.Config) -> None:
    """Register the marker; bind a pytest-xdist worker's life to its controller's."""
    config.addinivalue_line(
        "markers", "needs(*capabilities): skip (under CI=true: fail) where the machine lacks one of them"
    )
    controller = getattr(config, "workerinput", {}).get(CONTROLLER)
    if controller is not None:
        from netverify.kernel import lifetime

        lifetime.die_with(controller)


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: WorkerController) -> None:
    """Tell a worker on this machine whose it is: left alone, it would first finish the test that it runs."""
    if node.config.getini("netverify_sandbox") and node.gateway.spec.popen and not node.gateway.spec.via:
        node.workerinput[CONTROLLER] = os.getpid()
    if SNAPSHOT in node.config.stash:
        node.workerinput[COLLECTED] = node.config.stash[SNAPSHOT].as_json()


def snapshot_of(config: pytest.Config) -> Parts | None:
    """The host that --snapshot or --live names; None without either. Raises InputError."""
    from netverify.host import read_json
    from netverify.model import sources

    collected = getattr(config, "workerinput", {}).get(COLLECTED)
    if collected is not None and SNAPSHOT not in config.stash:
        config.stash[SNAPSHOT] = read_json(collected, "this host")
    where = config.getoption("--snapshot")
    if where is not None and SNAPSHOT not in config.stash:
        config.stash[SNAPSHOT] = sources.parts(where)
    return config.stash.get(SNAPSHOT, None)


def pytest_report_header(config: pytest.Config) -> list[str]:
    """Say what the results rest on."""
    if not config.getini("netverify_sandbox"):
        return []
    if REASON in config.stash:
        return [f"netverify: no sandbox: {config.stash[REASON]}"]
    from netverify.kernel import firewall, sandbox

    try:
        backend = config.getoption("--backend") or firewall.default_backend().value
    except MissingCapability as error:
        return [f"netverify: {error}"]
    who = "rootless" if sandbox.require().rootless else "root"
    return [f"netverify: Linux {platform.release()}, iptables-{backend}, {who}, in namespaces of its own"]


def missing(config: pytest.Config, reason: str) -> None:
    """End the test: a skip with its reason at home, a failure where the kernel was promised."""
    if config.getoption("--require-kernel"):
        pytest.fail(f"required here (CI=true or --require-kernel): {reason}", pytrace=False)
    pytest.skip(reason)


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Honour `needs`."""
    names = [name for marker in item.iter_markers("needs") for name in marker.args]
    if not names:
        return
    if REASON in item.config.stash:
        missing(item.config, item.config.stash[REASON])
    from netverify.kernel import capabilities

    for name in names:
        try:
            capabilities.require(name)
        except MissingCapability as error:
            missing(item.config, str(error))


@pytest.fixture
def lab(request: pytest.FixtureRequest) -> Generator[Lab]:
    """An empty lab: `lab.up(topology)`, `lab.reachability(tcp(80))`. It is gone after the test."""
    config = request.config
    if REASON in config.stash:
        missing(config, config.stash[REASON])
    from netverify.kernel.firewall import Backend
    from netverify.kernel.lab import Lab

    chosen = config.getoption("--backend")
    with Lab(Backend(chosen) if chosen else None) as place:
        yield place
        _attach(
            config, place, failed=request.node.stash.get(FAILED, False), directory=_directory(request.node)
        )


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Add what the lab knows to a failed test's report, while the lab still stands."""
    report = yield
    if report.when in ("setup", "call") and report.failed:
        item.stash[FAILED] = True
        place = getattr(item, "funcargs", {}).get("lab")
        if place is not None:
            from netverify.kernel.journal import story, write_captures

            report.sections += [(f"netverify: {title}", text) for title, text in story(place)]
            for path in write_captures(place, _directory(item)):
                report.sections.append(("netverify: capture", str(path)))
                item.user_properties.append(("pcap", str(path)))  # JUnit reads them at the end
    return report


def pytest_assertrepr_compare(op: str, left: object, right: object) -> Sequence[str] | None:
    """Explain two matrices that should be equal: both tables, the differing cells, the rules that moved."""
    if op != "==":
        return None
    from netverify.reachability.matrix import ReachabilityMatrix

    if isinstance(left, ReachabilityMatrix) and isinstance(right, ReachabilityMatrix):
        from netverify.kernel.questions import explained

        return explained(left, right)
    return None


def _directory(item: pytest.Item) -> Path:
    """Where this test's files go: reports/ of the project, one folder a test."""
    safe = "".join(c if c.isalnum() or c in "-_." else "_" for c in item.nodeid)
    return Path(item.config.rootpath, "reports", safe[-120:])


def _attach(config: pytest.Config, place: Lab, *, failed: bool, directory: Path) -> None:
    """Hand the lab's story to allure, where it listens, and keep the pcaps of a failed test."""
    listening = getattr(config.option, "allure_report_dir", None)
    if not (failed or listening):
        return
    from netverify.kernel.journal import story, write_captures

    pcaps = write_captures(place, directory) if failed else []
    if not listening:
        return
    import allure

    for title, text in story(place):
        allure.attach(text, name=title, attachment_type=allure.attachment_type.TEXT)
    for path in pcaps:
        allure.attach(path.read_bytes(), name=path.name, attachment_type=allure.attachment_type.PCAP)
