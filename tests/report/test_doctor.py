from __future__ import annotations

import json
from dataclasses import asdict, replace

import pytest

from netverify.errors import InputError
from netverify.report import doctor
from netverify.report.doctor import Capability

VETH = Capability("veth", "devices", True, True, "made one", "no lab can be built", "modprobe veth")
IPVLAN = Capability(
    "ipvlan",
    "devices",
    False,
    False,
    "Operation not supported",
    "no network with the driver `ipvlan` can be built",
    "modprobe ipvlan",
)
EVERYWHERE = ("iptables-legacy", "iptables-nft")
MATCHES = tuple(
    Capability(f"match {name}", "match extensions", True, False, "", "it is lost", "modprobe", EVERYWHERE)
    for name in ("addrtype", "comment", "conntrack")
)
SET = replace(
    MATCHES[0],
    name="match set",
    available=False,
    needed=True,
    detail="iptables-legacy: no such set",
    works_in=("iptables-nft",),
    fails_in=("iptables-legacy",),
)
ALL = (VETH, IPVLAN, *MATCHES, SET)


def test_ready_where_all_that_is_needed_is_there() -> None:
    assert doctor.exit_code((VETH, IPVLAN)) == doctor.READY == 0
    assert doctor.missing((VETH, IPVLAN)) == ()


def test_not_ready_where_something_needed_is_missing() -> None:
    assert doctor.exit_code(ALL) == doctor.NOT_READY == 1
    assert doctor.missing(ALL) == (SET,)


# --- text --------------------------------------------------------------------------------------------------

TABLE = """\
devices
  veth    yes  made one
  ipvlan  no   Operation not supported
               Without it no network with the driver `ipvlan` can be built.
               To get it: modprobe ipvlan.

match extensions
  3 of 4  yes  addrtype, comment, conntrack
               in iptables-legacy, iptables-nft
  set     no   iptables-legacy: no such set
               The suites need it. Without it much is lost.
               To get it: modprobe.

The suites cannot run in full here. They need, and this machine lacks: match set."""


def test_table() -> None:
    assert doctor.render((*ALL[:-1], replace(SET, consequence="much is lost"))) == TABLE


def test_table_of_a_machine_that_has_everything() -> None:
    text = doctor.render((VETH, *MATCHES))
    assert "all 3" in text
    assert " no " not in text
    assert text.endswith("\n\nEverything that the suites need is here.")


@pytest.mark.parametrize("width", [1, 60, 80, 100, 200])
def test_table_keeps_to_its_width_and_loses_no_word(width: int) -> None:
    wordy = replace(
        IPVLAN, detail="the quick brown fox jumps over the lazy dog " * 9, consequence="much is lost"
    )
    lines = doctor.render((VETH, wordy), width=width).splitlines()
    assert max(map(len, lines)) <= max(width, 60)
    assert " ".join(" ".join(lines).split()).count("quick brown fox jumps over the lazy dog") == 9
    assert not any(line != line.rstrip() for line in lines)


def test_row_without_detail_still_has_its_mark() -> None:
    assert "  veth  yes\n" in doctor.render((replace(VETH, detail=""),))


def test_group_is_shown_once_and_in_the_given_order() -> None:
    lines = doctor.render(ALL).splitlines()
    assert [line for line in lines if line in ("devices", "match extensions")] == [
        "devices",
        "match extensions",
    ]


# --- JSON --------------------------------------------------------------------------------------------------


def test_json_is_versioned_and_has_every_field() -> None:
    document = json.loads(doctor.render_json(ALL))
    assert document["version"] == 1
    assert document["ready"] is False
    assert [item["name"] for item in document["capabilities"]] == [item.name for item in ALL]
    assert document["capabilities"][-1]["fails_in"] == ["iptables-legacy"]
    assert document["capabilities"][0].keys() == asdict(VETH).keys()


def test_json_reads_back() -> None:
    assert doctor.read_json(doctor.render_json(ALL)) == ALL


def changed(**fields: object) -> str:
    return json.dumps({"version": 1, "capabilities": [{**asdict(VETH), **fields}]})


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("{", "line 1"),
        ("[]", "must be a JSON object whose `version` is 1"),
        ('{"version": 2, "capabilities": []}', "must be a JSON object whose `version` is 1"),
        ('{"version": 1}', "must have a list of `capabilities`"),
        ('{"version": 1, "capabilities": [7]}', r"capabilities\[0\]: expected an object, found 7"),
        ('{"version": 1, "capabilities": [{"name": "veth"}]}', r"capabilities\[0\]: `group` is missing"),
        (changed(available="yes"), "`available` must be of type bool, found 'yes'"),
        (changed(works_in="iptables"), "`works_in` must be of type list, found 'iptables'"),
        (changed(works_in=[7]), "`works_in` must be a list of strings"),
        (changed(available=False, detail=""), "`detail` must say why"),
    ],
)
def test_bad_json_is_refused_with_its_place(text: str, complaint: str) -> None:
    with pytest.raises(InputError, match=complaint):
        doctor.read_json(text)


# --- Capability --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("field", ["name", "group", "consequence", "remedy"])
def test_capability_needs_its_texts(field: str) -> None:
    with pytest.raises(ValueError, match=f"needs a {field}"):
        replace(VETH, **{field: ""})


def test_missing_capability_says_why() -> None:
    with pytest.raises(ValueError, match="must say why"):
        replace(IPVLAN, detail="")


def test_available_extension_fails_nowhere() -> None:
    with pytest.raises(ValueError, match="cannot be available and fail in iptables-nft"):
        replace(MATCHES[0], fails_in=("iptables-nft",))
