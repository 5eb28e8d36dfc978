"""Whatever people say: the labels keep to it, they are tracks, and labelling step by step gives the same as at once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import fields

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from spam_plugin.engine.answers import Answer, Box, Verdict
from spam_plugin.engine.resolve import Resolution, resolve
from spam_plugin.models.columns import Candidates, Source, Tracks, VideoInfo
from spam_plugin.models.spam import LabelSettings, SpamModel
from spam_plugin.models.spam.constraints import Constraints

CLASSES = ("person", "car")
NAMES = ("", "", "", "new one", "new two")


@st.composite
def answers_about(draw: st.DrawFn, world, count: int = 14) -> list[Answer]:
    """Answers that make sense or not: about one object or any boxes, near candidates or in the void."""
    number = len(world.candidates)
    own = [np.flatnonzero(world.who == who).tolist() for who in range(world.who.max() + 1)]
    rows = st.one_of(
        st.sampled_from(own).flatmap(lambda part: st.lists(st.sampled_from(part), min_size=1, max_size=5)),
        st.lists(st.integers(0, number - 1), min_size=1, max_size=4),
    )

    def box(row: int, shift: float) -> Box:
        corner = world.candidates.xyxy[row].astype(float) + shift
        return Box(int(world.candidates.frame[row]), tuple(corner.tolist()))

    out = []
    for _ in range(draw(st.integers(0, count))):
        verdict = draw(st.sampled_from(list(Verdict)))
        chosen = draw(rows)
        if verdict in (Verdict.SAME, Verdict.DIFFERENT) and len(chosen) < 2:
            chosen = [*chosen, draw(st.integers(0, number - 1))]
        boxes = tuple(box(row, draw(st.sampled_from([0.0, 0.0, 0.0, 0.0, 7.0, 400.0]))) for row in chosen)
        name = draw(st.sampled_from(NAMES))
        if verdict in (Verdict.STARTS, Verdict.ENDS, Verdict.ABSENT) and draw(st.booleans()):
            boxes = (*boxes[:1], Box(draw(st.integers(0, world.info.num_frames - 1)), boxes[0].xyxy))
        drawn = None
        if verdict is Verdict.BOX:
            drawn = box(draw(rows)[0], draw(st.sampled_from([0.0, 3.0, 60.0])))
            boxes = () if name and draw(st.booleans()) else boxes[:1]
        label = draw(st.sampled_from([*CLASSES, "dog"])) if verdict is Verdict.CLASS else None
        out.append(
            Answer(world.info.name, verdict, boxes, drawn, name, label, source=draw(st.sampled_from(["a", "b"])),
                   when=float(draw(st.integers(0, 3))))
        )  # fmt: skip
    return out


def told(world, answers: list[Answer]) -> Resolution:
    return resolve(answers, world.info, world.candidates, CLASSES)


def assert_tracks(info: VideoInfo, candidates: Candidates, tracks: Tracks) -> None:
    """What labels must be, whatever was said."""
    key = tracks.frame * (tracks.num_tracks + 1) + tracks.track_index
    assert (np.diff(key) > 0).all(), "sorted by frame and track, one box per track and frame"
    numbers, first = np.unique(tracks.track_index, return_index=True)
    assert numbers.tolist() == list(range(tracks.num_tracks))
    assert (np.diff(tracks.frame[first]) >= 0).all(), "numbered in the order of the tracks' first frames"
    assert ((tracks.frame >= 0) & (tracks.frame < info.num_frames)).all()
    assert np.isfinite(tracks.xyxy).all()
    assert (tracks.xyxy[:, 2:] > tracks.xyxy[:, :2]).all()
    for name in ("validity", "uncertainty", "link_uncertainty", "track_validity", "track_uncertainty"):
        share = getattr(tracks, name)
        assert ((share >= 0) & (share <= 1)).all(), name
    filled = tracks.source == Source.INTERPOLATED
    assert (tracks.candidate_index[filled] == -1).all()
    row = tracks.candidate_index[tracks.candidate_index >= 0]
    assert len(np.unique(row)) == len(row), "no candidate is used twice"
    np.testing.assert_array_equal(candidates.frame[row], tracks.frame[tracks.candidate_index >= 0])
    last = np.zeros(tracks.num_tracks, np.int64)
    np.maximum.at(last, tracks.track_index, tracks.frame)
    inner = (tracks.frame > tracks.frame[first][tracks.track_index]) & (tracks.frame < last[tracks.track_index])
    assert inner[filled].all(), "filled boxes lie between two others of their track"
    classes = np.unique(np.stack([tracks.track_index, tracks.class_index], 1), axis=0)
    assert len(classes) == tracks.num_tracks, "no track mixes classes"


def assert_honoured(said: Constraints, candidates: Candidates, tracks: Tracks) -> None:
    """The labels keep to everything that was said."""
    number = said.num_candidates
    place = np.full(number + len(said.frame), -1)
    own = tracks.candidate_index >= 0
    place[tracks.candidate_index[own]] = tracks.track_index[own]
    assert (place[:number][said.verdict < 0] == -1).all(), "a candidate that is no object is in no track"
    if len(np.unique(candidates.class_index)) == 1:  # an object that people made of two classes may double one
        assert (place[:number][said.verdict > 0] >= 0).all(), "a candidate that is an object is in a track"

    human = tracks.source == Source.HUMAN
    drawn = Counter((int(f), tuple(b)) for f, b in zip(said.frame, said.xyxy.tolist(), strict=True))
    shown = Counter((int(f), tuple(b)) for f, b in zip(tracks.frame[human], tracks.xyxy[human].tolist(), strict=True))
    assert shown == drawn, "drawn boxes, and only they, are a person's"
    for n, (frame, box) in enumerate(zip(said.frame, said.xyxy, strict=True)):
        at = human & (tracks.frame == frame) & (tracks.xyxy == box).all(1)
        if at.sum() == 1:
            place[number + n] = tracks.track_index[at][0]

    unclear = np.array([drawn[int(f), tuple(b)] > 1 for f, b in zip(said.frame, said.xyxy.tolist(), strict=True)])
    known = np.concatenate([np.ones(number, bool), ~unclear.astype(bool)])
    for index in range(said.object_index.max(initial=-1) + 1):
        of = place[(said.object_index == index) & known]
        assert (of >= 0).all(), "all boxes of an object are there"
        assert len(np.unique(of)) <= 1, "all boxes of an object are in one track"
    one, two = place[said.apart[:, 0]], place[said.apart[:, 1]]
    assert not ((one == two) & (one >= 0)).any(), "objects that are apart are in different tracks"

    for index in range(said.object_index.max(initial=-1) + 1):
        rows = np.flatnonzero((said.object_index == index) & known)
        if len(rows):
            frames = tracks.frame[tracks.track_index == place[rows[0]]]
            spans = np.unique(np.stack([said.earliest[rows], said.latest[rows]], 1), axis=0)
            inside = ((frames[:, None] >= spans[:, 0]) & (frames[:, None] <= spans[:, 1])).any(1)
            assert inside.all(), f"no box beyond where object {index} starts and ends"
    for row, frame in said.absent.tolist():
        if known[row]:
            there = (tracks.track_index == place[row]) & (tracks.frame == frame)
            assert not there.any(), "no box where the object is not to be seen"


def assert_equal_tracks(one: Tracks, two: Tracks) -> None:
    for column in fields(Tracks):
        np.testing.assert_array_equal(getattr(one, column.name), getattr(two, column.name), column.name)


SETTINGS = st.sampled_from(
    [LabelSettings(), LabelSettings(smooth=False), LabelSettings(interpolate=False), LabelSettings(consensus=False),
     LabelSettings(node_classification=False, min_boxes=1), LabelSettings(min_boxes=4)]
)  # fmt: skip


@settings(max_examples=70)
@given(data=st.data(), seed=st.integers(0, 3), classes=st.sampled_from([1, 1, 2]), wish=SETTINGS)
def test_labels_are_tracks_and_keep_to_whatever_was_said(
    model: SpamModel, worlds: Callable, data: st.DataObject, seed: int, classes: int, wish: LabelSettings
) -> None:
    spacing = [250.0, 90.0, 40.0, 15.0][seed]
    world = worlds(seed, num_frames=24, miss=0.2, false=1.0, classes=classes, spacing=spacing)
    said = told(world, data.draw(answers_about(world))).constraints
    (tracks,) = model.label([(world.info, world.candidates)], wish, [said])
    assert_tracks(world.info, world.candidates, tracks)
    assert_honoured(said, world.candidates, tracks)


def report(resolution: Resolution) -> set[tuple[str, str, str]]:
    return {(p.kind, p.answer.key, p.other.key if p.other else "") for p in resolution.problems}


@settings(max_examples=80)
@given(data=st.data())
def test_the_order_of_answers_does_not_matter(worlds: Callable, data: st.DataObject) -> None:
    world = worlds(1, num_frames=12, miss=0.2, false=1.0, classes=2)
    answers = data.draw(answers_about(world, 20))
    other = data.draw(st.permutations(answers + answers[::2]))
    one, two = told(world, answers), told(world, other)
    for column in fields(Constraints):
        np.testing.assert_array_equal(
            getattr(one.constraints, column.name), getattr(two.constraints, column.name), column.name
        )
    assert report(one) == report(two)
    assert (one.applied, one.matched_by_geometry) == (two.applied, two.matched_by_geometry)


@settings(max_examples=80)
@given(data=st.data())
def test_every_answer_holds_or_is_reported(worlds: Callable, data: st.DataObject) -> None:
    world = worlds(2, num_frames=12, miss=0.2, false=1.0)
    answers = data.draw(answers_about(world, 20))
    found = told(world, answers)
    unique = {answer.key for answer in answers}
    failed = {problem.answer.key for problem in found.problems}
    assert failed <= unique
    assert found.applied == len(unique) - len(failed)
    for problem in found.problems:
        assert problem.kind in ("lost", "outside", "contradiction", "superseded")
        assert problem.answer.source in problem.text
        assert world.info.name in problem.text
        assert problem.other is None or problem.other.key in unique


@settings(max_examples=25)
@given(data=st.data(), wish=SETTINGS)
def test_labelling_again_as_answers_come_in_gives_what_labelling_at_once_gives(
    model: SpamModel, worlds: Callable, data: st.DataObject, wish: LabelSettings
) -> None:
    world = worlds(3, num_frames=24, miss=0.2, false=1.0, spacing=40.0)
    answers = data.draw(answers_about(world))
    session = model.session(world.info, world.candidates, wish)
    for count in sorted({0, len(answers) // 2, len(answers)}):
        said = told(world, answers[:count]).constraints
        again = session.label(said)
        (at_once,) = model.label([(world.info, world.candidates)], wish, [said])
        assert_equal_tracks(again, at_once)


@settings(max_examples=8)
@given(data=st.data())
def test_that_also_holds_over_several_top_windows_and_when_answers_are_taken_back(
    model: SpamModel, worlds: Callable, data: st.DataObject
) -> None:
    world = worlds(4, num_frames=1060, objects=2, miss=0.1, false=0.02)
    assert len(np.unique(world.candidates.frame // 512)) == 3
    session = model.session(world.info, world.candidates)
    session.label()
    border = [row for row in range(len(world.candidates)) if 505 <= world.candidates.frame[row] <= 520]
    answers = data.draw(answers_about(world, 6))
    pair = data.draw(st.lists(st.sampled_from(border), min_size=2, max_size=4, unique=True))
    answers.append(world.say(data.draw(st.sampled_from(["same", "different", "invalid", "ends"])), *pair, when=9.0))
    session.label(told(world, answers).constraints)
    for kept in (answers[:-1], answers):
        said = told(world, kept).constraints
        again = session.label(said)
        (at_once,) = model.label([(world.info, world.candidates)], None, [said])
        assert_equal_tracks(again, at_once)
        assert_tracks(world.info, world.candidates, again)
        assert_honoured(said, world.candidates, again)


def test_an_answer_moves_only_the_windows_that_it_touches(model: SpamModel, worlds: Callable) -> None:
    world = worlds(5, num_frames=1060, objects=2)
    session = model.session(world.info, world.candidates)
    session.label()
    assert session.windows_computed == 3
    answers = [world.say("different", world.row(0, 700), world.row(0, 701))]
    tracks = session.label(told(world, answers).constraints)
    assert session.windows_computed == 1
    at = {row: tracks.track_index[tracks.candidate_index == world.row(0, row)][0] for row in (600, 700, 701, 1000)}
    assert at[600] == at[700]
    assert at[700] != at[701]
    answers.append(world.say("invalid", world.row(1, 3)))
    session.label(told(world, answers).constraints)
    assert session.windows_computed == 1
    session.label(told(world, answers).constraints)
    assert session.windows_computed == 0


def test_what_a_person_settled_has_no_uncertainty(model: SpamModel, worlds: Callable) -> None:
    world = worlds(6, num_frames=30, miss=0.3, false=1.0, spacing=60.0, noise=4.0)
    rows = np.flatnonzero(world.who == 0)
    said = told(world, [world.say("valid", *rows), world.say("same", *rows)]).constraints
    (tracks,) = model.label([(world.info, world.candidates)], None, [said])
    here = np.isin(tracks.candidate_index, rows)
    assert here.sum() == len(rows)
    assert len(np.unique(tracks.track_index[here])) == 1
    assert (tracks.validity[here] == 1).all()
    assert (tracks.uncertainty[here] == 0).all()
    inner = here & ~np.isin(tracks.candidate_index, [rows[0], rows[-1]])  # a track's ends may have rivals
    assert (tracks.link_uncertainty[inner] == 0).all()


def test_a_drawn_box_settles_itself_and_its_track(model: SpamModel, worlds: Callable) -> None:
    world = worlds(7, num_frames=30, miss=0.3, false=1.0)
    row = int(np.flatnonzero(world.who == 1)[5])
    drawn = Box(int(world.candidates.frame[row]), tuple((world.candidates.xyxy[row].astype(float) + 4).tolist()))
    said = told(world, [world.say("box", row, drawn=drawn)]).constraints
    (tracks,) = model.label([(world.info, world.candidates)], None, [said])
    (human,) = np.flatnonzero(tracks.source == Source.HUMAN)
    assert tracks.xyxy[human].tolist() == list(np.float32(drawn.xyxy))
    assert (tracks.validity[human], tracks.uncertainty[human], tracks.link_uncertainty[human]) == (1, 0, 0)
    assert tracks.keyframe[human]
    assert (tracks.track_index == tracks.track_index[human]).sum() > 20


def test_an_object_that_people_drew_is_one_track_between_its_boxes(model: SpamModel, worlds: Callable) -> None:
    world = worlds(8, num_frames=30)
    ends = [Box(frame, (800.0 + frame, 10.0, 840.0 + frame, 100.0)) for frame in (4, 24)]
    answers = [Answer(world.info.name, Verdict.BOX, drawn=box, object="new") for box in ends]
    said = told(world, answers).constraints
    (tracks,) = model.label([(world.info, world.candidates)], None, [said])
    number = tracks.track_index[tracks.source == Source.HUMAN]
    assert len(set(number.tolist())) == 1
    mine = tracks.track_index == number[0]
    assert tracks.frame[mine].tolist() == list(range(4, 25))
    np.testing.assert_allclose(tracks.xyxy[mine][10], [814, 10, 854, 100], atol=1)
    hidden = [*answers, Answer(world.info.name, Verdict.ABSENT, (Box(14, ends[0].xyxy),), object="new")]
    (tracks,) = model.label([(world.info, world.candidates)], None, [told(world, hidden).constraints])
    left = tracks.frame[tracks.track_index == tracks.track_index[tracks.source == Source.HUMAN][0]]
    assert 14 not in left.tolist()


def test_two_objects_with_boxes_in_one_frame_are_two_tracks(model: SpamModel, world) -> None:
    """The model takes the candidates of frames 5 and 9 for one object; people drew both in frame 20."""
    drawn = [Box(20, (600.0, 700.0, 640.0, 800.0)), Box(20, (800.0, 700.0, 840.0, 800.0))]
    answers = [world.say("box", world.row(0, frame), drawn=box) for frame, box in zip((5, 9), drawn, strict=True)]
    said = told(world, answers).constraints
    (tracks,) = model.label([(world.info, world.candidates)], None, [said])
    assert (tracks.source == Source.HUMAN).sum() == 2
    assert_honoured(said, world.candidates, tracks)


def test_a_valid_box_where_the_object_is_absent_is_another_object(model: SpamModel, world) -> None:
    answers = [
        world.say("valid", world.row(0, 10)),
        world.say("absent", world.row(0, 15), world.row(0, 10)),
    ]
    said = told(world, answers).constraints
    (tracks,) = model.label([(world.info, world.candidates)], LabelSettings(min_boxes=1), [said])
    assert world.row(0, 10) in tracks.candidate_index
    assert_honoured(said, world.candidates, tracks)


def test_objects_that_only_the_model_joins_part_where_their_bounds_would_break(
    model: SpamModel, worlds: Callable
) -> None:
    """An object that leaves after frame 5 and comes back is linked, before that, to one that ends in frame 10."""
    world = worlds(9, num_frames=40)
    first, second = [world.row(0, frame) for frame in (2, 5)], [world.row(0, frame) for frame in (25, 30)]
    answers = [
        world.say("same", *first, *second),
        world.say("ends", first[1], first[1]),
        world.say("starts", second[0], second[0]),
        world.say("ends", world.row(0, 0), world.row(0, 10)),
    ]
    said = told(world, answers).constraints
    (tracks,) = model.label([(world.info, world.candidates)], None, [said])
    assert_honoured(said, world.candidates, tracks)
