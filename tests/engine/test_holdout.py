"""What is held out stays held out, follows from keys alone, and parts answers cleanly."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spam_plugin.engine.answers import Answer, Box, Verdict
from spam_plugin.engine.holdout import ENOUGH_VIDEOS, Holdout, hold_out
from spam_plugin.models.errors import InputError


def about(key: str, *frames: int, verdict: Verdict = Verdict.VALID, **rest: object) -> Answer:
    return Answer(key, verdict, tuple(Box(frame, (0.0, 0.0, 10.0, 10.0)) for frame in frames), **rest)


def videos(number: int) -> tuple[dict[str, list[Answer]], dict[str, int]]:
    keys = [f"video-{n}" for n in range(number)]
    return {key: [about(key, 0)] for key in keys}, {key: 50 + 37 * n for n, key in enumerate(keys)}


keys = st.lists(st.text("abcdef", min_size=1, max_size=4), min_size=1, max_size=30, unique=True)


@given(keys, st.integers(0, 30), st.integers(0, 5))
def test_what_was_held_out_stays_held_out_as_answers_come_in(names: list[str], first: int, seed: int) -> None:
    answered = {key: [about(key, 0)] for key in names}
    lengths = {key: 20 + 11 * len(key) for key in names}
    few = hold_out({key: answered[key] for key in names[:first]}, lengths, seed=seed)
    more = hold_out(answered, lengths, seed=seed, before=few)
    again = hold_out({key: [*said, about(key, 3)] for key, said in answered.items()}, lengths, seed=seed, before=more)
    assert again == more
    for key in few.spans:
        assert more.spans[key] == few.spans[key]


@given(keys, st.integers(0, 5))
def test_the_same_videos_are_held_out_whatever_their_order_and_their_answers(names: list[str], seed: int) -> None:
    lengths = dict.fromkeys(names, 100)
    one = hold_out({key: [about(key, 0)] for key in names}, lengths, seed=seed)
    two = hold_out({key: [about(key, 7, 50), about(key, 9)] for key in reversed(names)}, lengths, seed=seed)
    assert dict(one.spans) == dict(two.spans)


@given(st.integers(4, 5000), st.sampled_from([0.1, 0.25, 0.5, 0.9]), st.integers(0, 20))
def test_a_single_video_is_split_by_blocks_of_time_and_something_is_left_to_learn(
    length: int, share: float, seed: int
) -> None:
    found = hold_out({"a": [about("a", 0)]}, {"a": length}, share, seed)
    held = found.holds("a", np.arange(length))
    assert 0 < held.sum() < length
    assert abs(held.mean() - share) <= 0.26 if length < 60 else 0.2


def test_whole_videos_are_held_out_where_enough_have_answers() -> None:
    answered, lengths = videos(40)
    found = hold_out(answered, lengths)
    shares = [found.holds(key, np.arange(lengths[key])).mean() for key in answered]
    assert set(shares) == {0.0, 1.0}
    assert 4 <= sum(shares) <= 18


def test_of_many_videos_never_all_and_never_none_are_held_out() -> None:
    for seed in range(60):
        answered, lengths = videos(ENOUGH_VIDEOS)
        found = hold_out(answered, lengths, 0.05 if seed % 2 else 0.95, seed)
        whole = [bool(spans) for spans in found.spans.values()]
        assert any(whole)
        assert not all(whole)


def test_a_video_without_answers_is_not_decided_on() -> None:
    found = hold_out({"a": [about("a", 0)], "b": []}, {"a": 100, "b": 100})
    assert set(found.spans) == {"a"}
    assert not found.holds("b", np.arange(100)).any()
    assert hold_out({}, {}).is_empty


def test_frames_that_are_added_to_a_held_out_end_are_held_out() -> None:
    found = Holdout({"a": ((0, 10), (90, 2**31))})
    assert found.holds("a", np.array([0, 9, 10, 89, 90, 5000])).tolist() == [True, True, False, False, True, True]


def test_bad_input_is_told() -> None:
    with pytest.raises(InputError, match=r"share that is held out is 1\.5"):
        hold_out({}, {}, 1.5)
    with pytest.raises(InputError, match="'a' has answers, but no length"):
        hold_out({"a": [about("a", 0)]}, {})
    with pytest.raises(InputError, match="no span of time"):
        Holdout({"a": ((5, 5),)})


def test_what_is_held_out_survives_json() -> None:
    answered, lengths = videos(5)
    found = hold_out(answered, lengths)
    assert Holdout.from_dict(found.as_dict()) == found


HALF = Holdout({"a": ((10, 20),)})


def frames(answers: tuple[Answer, ...]) -> list[list[int]]:
    return [[box.frame for box in answer.boxes] for answer in answers]


def test_an_answer_about_one_side_goes_there_whole() -> None:
    ours, theirs = about("a", 3, 9, 25), about("a", 12, 19)
    parts = HALF.split("a", [ours, theirs])
    assert (parts.training, parts.held, parts.learnt) == ((ours,), (theirs,), (ours.key,))


@pytest.mark.parametrize("verdict", [Verdict.VALID, Verdict.INVALID])
def test_what_is_said_of_single_boxes_is_cut_at_the_border(verdict: Verdict) -> None:
    answer = about("a", 8, 9, 10, 11, 20, verdict=verdict)
    parts = HALF.split("a", [answer])
    assert parts.learnt == (answer.key,)
    assert frames(parts.training) == [[8, 9, 20]]
    assert frames(parts.held) == [[10, 11]]


def test_of_one_object_on_both_sides_the_link_across_the_border_is_held_out() -> None:
    parts = HALF.split("a", [about("a", 11, 8, 9, 10, 20, 21, verdict=Verdict.SAME)])
    assert frames(parts.training) == [[8, 9, 20, 21]]
    assert frames(parts.held) == [[9, 10, 11, 20]]
    parts = HALF.split("a", [about("a", 9, 10, verdict=Verdict.SAME)])
    assert parts.training == ()
    assert frames(parts.held) == [[9, 10]]


@pytest.mark.parametrize("verdict", [Verdict.DIFFERENT, Verdict.STARTS, Verdict.ENDS, Verdict.ABSENT])
def test_what_cannot_be_cut_is_held_out_whole(verdict: Verdict) -> None:
    answer = about("a", 9, 10, verdict=verdict)
    assert HALF.split("a", [answer]) == replace(HALF.split("a", []), held=(answer,))


def test_a_box_drawn_in_a_held_out_frame_is_held_out() -> None:
    answer = Answer("a", Verdict.BOX, (Box(5, (0, 0, 9, 9)),), drawn=Box(15, (0, 0, 9, 9)))
    named = Answer("a", Verdict.BOX, drawn=Box(5, (0, 0, 9, 9)), object="new")
    parts = HALF.split("a", [answer, named])
    assert (parts.training, parts.held) == ((named,), (answer,))


@given(st.lists(st.lists(st.integers(0, 40), min_size=2, max_size=12, unique=True), max_size=6), st.data())
def test_no_training_answer_touches_a_held_out_frame_and_no_box_is_lost(sets: list[list[int]], data) -> None:
    verdicts = [data.draw(st.sampled_from([Verdict.VALID, Verdict.SAME, Verdict.DIFFERENT])) for _ in sets]
    given_answers = [about("a", *own, verdict=verdict) for own, verdict in zip(sets, verdicts, strict=True)]
    parts = HALF.split("a", given_answers)
    for answer in parts.training:
        assert not HALF.holds("a", np.array([box.frame for box in answer.boxes])).any()
    for answer in given_answers:
        if answer.verdict is Verdict.VALID:
            own = [one for side in (parts.training, parts.held) for one in side if one.verdict is Verdict.VALID]
            assert set(answer.boxes) <= {box for one in own for box in one.boxes}
