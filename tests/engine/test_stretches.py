"""Where an object is seen, from its boxes and from what people said of its ends."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from spam_plugin.engine.answers import Answer, Box, Verdict
from spam_plugin.engine.stretches import Claim, Stretches, find_stretches
from spam_plugin.models.spam.constraints import EVER


def claim(verdict: str, limit: int, anchor: int | None = None) -> Claim:
    here = Box(limit, (0.0, 0.0, 1.0, 1.0))
    return Claim(Answer("v", Verdict(verdict), (here,)), limit, limit if anchor is None else anchor)


def cut(frames: list[int], claims: list[Claim]) -> tuple[Stretches, list[Answer]]:
    """Stretches of an object with boxes in some frames, of which nobody in particular said that they are its."""
    failed: list[Answer] = []
    rank = {id(one.answer): number for number, one in enumerate(claims)}
    rows = dict(enumerate(sorted(frames)))
    return find_stretches(rows, claims, {}, rank, lambda answer, other, why: failed.append(answer)), failed


def test_an_object_of_which_nobody_said_that_it_leaves_is_seen_in_one_stretch() -> None:
    found, failed = cut([1, 5, 30], [])
    (one,) = found.stretches
    assert (one.rows, one.earliest, one.latest) == ((0, 1, 2), -EVER, EVER)
    assert (found.empty, failed) == ((), [])


def test_it_is_cut_where_it_ends_and_bounded_where_it_starts() -> None:
    found, failed = cut([1, 5, 30], [claim("ends", 5), claim("starts", 0, 1)])
    one, two = found.stretches
    assert (one.rows, one.earliest, one.latest) == ((0, 1), 0, 5)
    assert (two.rows, two.earliest, two.latest) == ((2,), 7, EVER)
    assert not failed


def test_where_it_is_only_hidden_it_is_not_cut() -> None:
    found, failed = cut([1, 5, 30], [claim("absent", 10, 5)])
    assert len(found.stretches) == 1
    assert found.empty == (10,)
    assert not failed


def test_it_does_not_end_where_a_better_answer_saw_it() -> None:
    found, failed = cut(
        [1, 20], [claim("ends", 20, 1), claim("absent", 21, 20), claim("ends", 8, 4), claim("starts", 8)]
    )
    assert [answer.boxes[0].frame for answer in failed] == [8, 8]
    assert len(found.stretches) == 1
    assert found.stretches[0].latest == 20


CLAIM = st.builds(claim, st.sampled_from(["starts", "ends", "absent"]), st.integers(0, 12), st.integers(0, 12))


@settings(max_examples=200)
@given(frames=st.lists(st.integers(0, 12), min_size=1, unique=True), claims=st.lists(CLAIM, max_size=6))
def test_stretches_hold_together_whatever_was_claimed(frames: list[int], claims: list[Claim]) -> None:
    found, failed = cut(frames, claims)
    frame = dict(enumerate(sorted(frames)))
    held = [one for one in claims if not any(one.answer is answer for answer in failed)]
    rows = [row for stretch in found.stretches for row in stretch.rows]
    assert rows == sorted(rows), "stretches follow each other"
    assert len(set(rows)) == len(rows)
    assert set(rows) == {row for row, at in frame.items() if at not in {one.empty for one in held}}
    for before, behind in zip(found.stretches, found.stretches[1:], strict=False):
        assert before.latest < behind.earliest
    for stretch in found.stretches:
        at = [frame[row] for row in stretch.rows]
        assert stretch.earliest <= at[0] <= at[-1] <= stretch.latest
        for one in held:
            if one.binds:
                assert not at[0] <= one.empty <= at[-1]
                assert not stretch.earliest <= one.empty <= stretch.latest
    assert set(found.empty) <= {one.empty for one in held}
