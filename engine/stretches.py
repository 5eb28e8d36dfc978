"""The stretches of time in which an object is seen: from its boxes, and from what people said of where it leaves."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from ..models.spam.constraints import EVER
from .answers import Answer, Verdict

Row = int


@dataclass(frozen=True)
class Claim:
    """An answer that says where an object starts, ends, or is not to be seen.

    Attributes:
        answer: with such a verdict.
        limit: the frame that it names.
        anchor: frame of the box that it was said of.
    """

    answer: Answer
    limit: int
    anchor: int

    @property
    def empty(self) -> int:
        """The frame in which the object is not to be seen, if this holds."""
        return self.limit + {Verdict.STARTS: -1, Verdict.ENDS: 1}.get(self.answer.verdict, 0)

    @property
    def binds(self) -> bool:
        """Whether a track may not go on over the empty frame: it ends there, and is not only hidden."""
        return self.answer.verdict is not Verdict.ABSENT

    @property
    def seen(self) -> tuple[int, int]:
        """First and last frame between which the object is seen without a break, if this holds."""
        if not self.binds:
            return self.anchor, self.anchor
        return min(self.limit, self.anchor), max(self.limit, self.anchor)

    @property
    def contradicts_itself(self) -> bool:
        """Whether the box that it was said of lies on the wrong side of the frame that it names."""
        early = self.answer.verdict is Verdict.STARTS
        return self.binds and (self.anchor < self.limit if early else self.anchor > self.limit)


@dataclass(frozen=True)
class Stretch:
    """Boxes of an object between coming and going.

    Attributes:
        rows: its boxes, by frame.
        earliest: first frame that it may have, ``-EVER`` if nobody said.
        latest: last frame that it may have, ``EVER`` if nobody said.
    """

    rows: tuple[Row, ...]
    earliest: int
    latest: int


@dataclass(frozen=True)
class Stretches:
    """All that is known of when an object is seen.

    Attributes:
        stretches: by frame.
        empty: frames in which it is not to be seen, inside its span.
    """

    stretches: tuple[Stretch, ...]
    empty: tuple[int, ...]


def find_stretches(
    frames: Mapping[Row, int], claims: Sequence[Claim], maker: Mapping[Row, Answer], rank: Mapping[int, int],
    clash: Callable[[Answer, Answer | None, str], None],
) -> Stretches:  # fmt: skip
    """Cuts an object's boxes where it leaves.

    Args:
        frames: row -> frame of every box of the object.
        claims: about the object, the best answer first.
        maker: row -> the answer that made the box one of an object.
        rank: id of an answer -> place among all; a lower one is better.
        clash: told of answers that do not hold, and of the one that does instead.
    """
    held, gone = _consistent(frames, claims, maker, rank, clash)
    rows = sorted((row for row in frames if row not in gone), key=lambda row: (frames[row], row))
    bounds = sorted({claim.empty for claim in held if claim.binds})
    hidden = {claim.empty for claim in held if not claim.binds}
    groups: list[list[Row]] = []
    cuts: set[int] = set()
    for row in rows:
        between = (
            bounds[bisect_right(bounds, frames[groups[-1][-1]]) : bisect_left(bounds, frames[row])] if groups else []
        )
        if between or not groups:
            cuts.update(between)
            groups.append([row])
        else:
            groups[-1].append(row)
    stretches = []
    for number, group in enumerate(groups):
        before = bounds[: bisect_left(bounds, frames[group[0]])]
        behind = bounds[bisect_right(bounds, frames[group[-1]]) :]
        # a bound on the far side of a neighbouring stretch is that one's, not this one's
        floor = frames[groups[number - 1][-1]] if number else -int(EVER)
        ceiling = frames[groups[number + 1][0]] if number + 1 < len(groups) else int(EVER)
        earliest = before[-1] + 1 if before and before[-1] > floor else -int(EVER)
        latest = behind[0] - 1 if behind and behind[0] < ceiling else int(EVER)
        stretches.append(Stretch(tuple(group), earliest, latest))
    return Stretches(tuple(stretches), tuple(sorted(cuts | hidden)))


def _consistent(
    frames: Mapping[Row, int], claims: Sequence[Claim], maker: Mapping[Row, Answer], rank: Mapping[int, int],
    clash: Callable[[Answer, Answer | None, str], None],
) -> tuple[list[Claim], set[Row]]:  # fmt: skip
    """The claims that hold together, and the boxes that give way to them."""
    held: list[Claim] = []
    gone: set[Row] = set()
    at: dict[int, list[Row]] = {}
    for row, frame in frames.items():
        at.setdefault(frame, []).append(row)
    for claim in claims:
        if claim.contradicts_itself:
            clash(
                claim.answer,
                None,
                f"the box it is about lies beyond frame {claim.limit + 1}, which it names as the end",
            )
            continue
        first, last = claim.seen
        other = next((c for c in held if first <= c.empty <= last or c.seen[0] <= claim.empty <= c.seen[1]), None)
        if other is not None:
            frame = other.empty if first <= other.empty <= last else claim.empty
            clash(claim.answer, other.answer, f"whether the object is seen in frame {frame + 1}")
            continue
        there = [row for row in at.get(claim.empty, ()) if row in maker and row not in gone]
        better = [maker[row] for row in there if rank[id(maker[row])] < rank[id(claim.answer)]]
        if better:
            clash(claim.answer, better[0], f"the object has a box in frame {claim.empty + 1}")
            continue
        for row in there:
            clash(maker[row], claim.answer, f"the object has no box in frame {claim.empty + 1}")
        gone.update(at.get(claim.empty, ()))
        held.append(claim)
    return held, gone
