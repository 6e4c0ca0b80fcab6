"""How packets end on a host, and what its routing refuses: reasons that are asked in order."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from netverify.dataplane.diagrams import Set
from netverify.dataplane.pieces import Lens, Piece
from netverify.dataplane.targets import Reject


@dataclass(frozen=True)
class End:
    """How a piece ended on a host.

    `fate` is "delivered", "sent", "bridged", "redirected", "dropped", "rejected", "unreachable" or "astray"
    (an answer that routing sends elsewhere than to where the request came from). `where` names the table and
    chain that decided, `reason` says it in words, `answer` what the sender is told. What was sent leaves by
    the device that the piece's `out_interface` says. `locally` is for the host's own packets, whose sockets
    get errors without any packet.
    """

    fate: str
    piece: Piece
    reason: str = ""
    where: str = ""
    answer: Reject | None = None
    locally: bool = False


@dataclass(frozen=True)
class Refusal:
    """Packets, as they are by now, that a host takes no further: why, and what comes of them (`End`)."""

    reason: str
    packets: Set
    fate: str = "dropped"
    answer: Reject | None = None


def refused(
    lens: Lens, pieces: Iterable[Piece], refusals: Sequence[Refusal], *, locally: bool = False
) -> tuple[list[Piece], list[End]]:
    """Who goes on, and who ends by the first refusal that concerns him; the ends in the refusals' order.

    Nearly all packets are refused by nobody, and their sets are the large ones: so each piece is cut once, by
    all refusals together, and only the little that is caught is parted by them.
    """
    pieces = list(pieces)
    asked = [each for each in refusals if each.packets.satisfiable()]
    seen = [lens.seen(each.packets, pieces) for each in asked]
    left: list[Piece] = []
    ends: list[list[End]] = [[] for _ in asked]
    for index, piece in enumerate(pieces):
        caught = piece.cut(lens.sets.union([found[index] for found in seen]))
        if not caught.packets.satisfiable():
            left.append(piece)
            continue
        others = piece.cut(~caught.packets)
        if others.packets.satisfiable():
            left.append(others)
        for number, (each, ended) in enumerate(zip(asked, ends, strict=True), 1):
            # What all others left of it was caught by the last.
            part = caught if number == len(asked) else caught.cut(seen[number - 1][index])
            if part.packets.satisfiable():
                ended.append(End(each.fate, part, each.reason, answer=each.answer, locally=locally))
                caught = caught.cut(~part.packets)
    return left, [end for ended in ends for end in ended]
