"""What ipsets hold, as `ipset save` prints it."""

from __future__ import annotations

import pytest

from netverify.dataplane.errors import DataplaneError
from netverify.dataplane.ipset import IpSet, SetEntry, read_ipsets

SAVED = """\
create offices hash:net family inet hashsize 1024 maxelem 65536 timeout 0 comment bucketsize 12
add offices 10.0.0.0/8 timeout 0 comment "the offices"
add offices 10.9.0.0/16 timeout 300 nomatch
create web hash:ip,port family inet6 hashsize 1024 maxelem 65536
add web 2001:db8::7,tcp:443
create low bitmap:port range 0-1023
add low 22
create near bitmap:ip range 10.0.0.0-10.0.255.255 netmask 24
create marked hash:ip,mark family inet markmask 0x0000ffff hashsize 1024 maxelem 65536
create all list:set size 8
add all offices
"""


def test_reading_what_ipset_saves() -> None:
    sets = read_ipsets(SAVED)
    assert list(sets) == ["offices", "web", "low", "near", "marked", "all"]
    assert sets["offices"].entries == (
        SetEntry(("10.0.0.0/8",)),
        SetEntry(("10.9.0.0/16",), nomatch=True, timeout=300),
    )
    assert sets["web"] == IpSet.of("hash:ip,port", "2001:db8::7,tcp:443", version=6)
    assert sets["low"].version is None
    assert sets["near"].netmask == 24
    assert sets["marked"].markmask == 0xFFFF
    assert sets["all"].parts == ("set",)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("add nobody 10.0.0.1", "line 1: set nobody was not created before"),
        ("create x hash:ip family inet\nadd x 10.0.0.1,tcp:80", "2 parts, expected 1"),
        ("create x hash:nonsense", "ipset type 'hash:nonsense'"),
        ("create x hash:net\nadd x 10.0.0.0/8 timeout soon", "line 2: .*no number of seconds"),
        ("swap x y", "expected `create"),
        ("create x hash:net\nadd x 10.0.0.0/8 comment \"half", "line 2"),
        ("create x hash:net\n\nadd x", "line 3"),
    ],
)  # fmt: skip
def test_a_damaged_file_says_where(text: str, words: str) -> None:
    with pytest.raises(DataplaneError, match=words):
        read_ipsets(text)
