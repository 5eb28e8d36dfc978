"""Boxes that a tracker filled in: what becomes of them in the labels, and that people always win."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from spam_plugin.engine.anchors import anchor_row
from spam_plugin.engine.answers import Answer, Box, Verdict
from spam_plugin.engine.choosing import look_at
from spam_plugin.engine.filling import Fills, How, Keyframes
from spam_plugin.engine.ports import VideoInput
from spam_plugin.engine.propagation import LEAST, SHORT, SavedFills, keyframes_of, with_fills
from spam_plugin.engine.resolve import resolve
from spam_plugin.models.columns import Candidates, Source
from spam_plugin.models.errors import InputError
from spam_plugin.models.spam import LabelSettings, SpamModel
from spam_plugin.models.spam.overlaps import paired_iou

GONE = range(12, 28)  # frames in which no detector sees object 1


@pytest.fixture
def missed(world):
    """A world whose object 1 no detector sees for a while."""
    seen = ~((world.who == 1) & np.isin(world.candidates.frame, GONE))
    columns = world.candidates
    candidates = Candidates(columns.frame[seen], columns.xyxy[seen], columns.score[seen], columns.class_index[seen])
    return replace(world, candidates=candidates, who=world.who[seen])


def true_box(world, who: int, frame: int) -> tuple[float, ...]:
    (row,) = np.flatnonzero((world.truth.track_id == who) & (world.truth.frame == frame))
    return tuple(world.truth.xyxy[row].tolist())


def drawn(world, who: int, frame: int, name: str = "a") -> Answer:
    return Answer(world.info.name, Verdict.BOX, drawn=Box(frame, true_box(world, who, frame)), object=name)


def filled(world, who: int, frames, keys: list[Answer], confidence: float = 0.9, shift: float = 0.0) -> SavedFills:
    """True boxes of an object, moved to the right by some pixels, that hang on drawn ones."""
    anchors = [min(keys, key=lambda key, f=frame: abs(key.drawn.frame - f)).drawn for frame in frames]
    xyxy = np.array([true_box(world, who, frame) for frame in frames], np.float32).reshape(-1, 4)
    return SavedFills(
        np.array(list(frames), np.int64), xyxy + np.float32([shift, 0, shift, 0]),
        np.full(len(xyxy), confidence, np.float32), np.full(len(xyxy), How.TRACKED, np.uint8),
        np.array([box.frame for box in anchors], np.int64),
        np.array([box.xyxy for box in anchors], np.float32).reshape(-1, 4),
    )  # fmt: skip


def label(model: SpamModel, world, answers: list[Answer], fills: SavedFills | None):
    said = resolve(answers, world.info, world.candidates).constraints
    both = with_fills(world.candidates, said, fills)
    (tracks,) = model.label([(world.info, world.candidates)], LabelSettings(), [both])
    return tracks, both


def columns_of(tracks) -> list:
    return [getattr(tracks, name) for name in tracks.__dataclass_fields__]


def test_without_fills_constraints_are_the_very_same(missed) -> None:
    said = resolve([drawn(missed, 1, 5)], missed.info, missed.candidates).constraints
    assert with_fills(missed.candidates, said, None) is said
    assert with_fills(missed.candidates, said, SavedFills.empty()) is said


def test_fills_that_cannot_be_used_leave_the_labels_bitwise_as_they_were(model, missed) -> None:
    keys = [drawn(missed, 1, 5)]
    before, _ = label(model, missed, keys, None)
    for fills in (
        filled(missed, 1, GONE, keys, confidence=LEAST - 0.01),
        replace(filled(missed, 1, GONE, keys), how=np.full(len(GONE), How.INTERPOLATED, np.uint8)),
        filled(missed, 1, GONE, [drawn(missed, 1, 6)]),  # hangs on a box that nobody drew
    ):
        after, _ = label(model, missed, keys, fills)
        assert all(np.array_equal(a, b) for a, b in zip(columns_of(before), columns_of(after), strict=True))


def of_object(tracks, who: int, world) -> np.ndarray:
    """Rows of the tracks that lie on an object."""
    true = np.array([true_box(world, who, frame) for frame in tracks.frame.tolist()])
    return np.flatnonzero(paired_iou(tracks.xyxy.astype(float), true) >= 0.5)


def test_what_a_detector_missed_is_in_the_labels_and_its_track_goes_on(model, missed) -> None:
    key = drawn(missed, 1, GONE[0])
    keys = [replace(key, boxes=(missed.box(missed.row(1, GONE[0] - 1)),), object="")]
    before, _ = label(model, missed, keys, None)
    tracks, _ = label(model, missed, keys, filled(missed, 1, range(GONE[1], 40), keys))
    rows = of_object(tracks, 1, missed)
    assert tracks.frame[rows].tolist() == list(range(40))
    assert len(np.unique(tracks.track_index[rows])) == 1
    gone = rows[np.isin(tracks.frame[rows], GONE[1:])]
    assert (tracks.source[gone] == Source.PROPAGATED).all()
    assert (tracks.candidate_index[gone] == -1).all()
    assert tracks.validity[gone] == pytest.approx(0.9)
    assert not tracks.keyframe[gone].any()
    assert (before.source[np.isin(before.frame, GONE)] == Source.PROPAGATED).sum() == 0
    assert len(of_object(tracks, 0, missed)) == len(of_object(before, 0, missed)) == 40


def test_a_person_s_one_box_of_an_object_that_no_detector_sees_becomes_a_track(model, world) -> None:
    seen = world.who != 1
    alone = replace(world, who=world.who[seen], candidates=Candidates(
        world.candidates.frame[seen], world.candidates.xyxy[seen], world.candidates.score[seen],
        world.candidates.class_index[seen]))  # fmt: skip
    keys = [drawn(world, 1, 20)]
    tracks, _ = label(model, alone, keys, filled(world, 1, [*range(5, 20), *range(21, 35)], keys))
    rows = of_object(tracks, 1, world)
    assert tracks.frame[rows].tolist() == list(range(5, 35))
    assert (tracks.source[rows] == Source.HUMAN).sum() == 1
    assert tracks.num_tracks == 3


def test_filled_boxes_stand_where_they_were_filled_where_nothing_else_is_known(model, missed) -> None:
    keys = [drawn(missed, 1, GONE[0])]
    fills = filled(missed, 1, GONE[1:], keys, shift=3.0)
    tracks, _ = label(model, missed, keys, fills)
    rows = np.flatnonzero(tracks.source == Source.PROPAGATED)
    assert len(rows) == len(fills)
    assert np.abs(tracks.xyxy[rows] - fills.xyxy).max() < 1e-3


def test_between_drawn_boxes_line_and_tracker_count_as_far_as_they_are_to_be_trusted(model, missed) -> None:
    """Steady walking is told better by a line; where the two are far apart, the tracker saw where it really was."""
    keys = [drawn(missed, 1, 11), drawn(missed, 1, 29)]
    for shift, low, high in ((3.0, 0.0, 1.5), (60.0, 50.0, 60.0)):
        tracks, _ = label(model, missed, keys, filled(missed, 1, GONE, keys, shift=shift))
        rows = np.flatnonzero(tracks.source == Source.PROPAGATED)
        assert len(rows) == len(GONE)
        off = tracks.xyxy[rows, 0] - [true_box(missed, 1, frame)[0] for frame in tracks.frame[rows].tolist()]
        assert low <= off[8] <= high
        for row in np.flatnonzero(tracks.source == Source.HUMAN).tolist():
            assert np.abs(tracks.xyxy[row] - true_box(missed, 1, int(tracks.frame[row]))).max() < 1e-3


def test_no_box_is_filled_over_a_person_s_one_and_a_later_one_ends_what_it_contradicts(missed) -> None:
    keys = [drawn(missed, 1, 10), drawn(missed, 1, 30)]
    fills = filled(missed, 1, range(11, 30), keys, shift=200.0)
    said = resolve([*keys, drawn(missed, 1, 20)], missed.info, missed.candidates).constraints
    assert with_fills(missed.candidates, said, fills) is said
    fits = with_fills(missed.candidates, said, filled(missed, 1, range(11, 30), keys))
    assert sorted(fits.frame[~fits.by_person].tolist()) == [*range(12, 20), *range(21, 28)]


def test_where_there_are_detections_labels_are_the_model_s(model, missed) -> None:
    """Also with true boxes: where two objects pass each other, one would take the other's detections."""
    keys = [drawn(missed, 1, 4), drawn(missed, 1, 36)]
    said = resolve(keys, missed.info, missed.candidates).constraints
    tracks, both = label(model, missed, keys, filled(missed, 1, range(5, 36), keys))
    assert sorted(both.frame[~both.by_person].tolist()) == list(GONE)
    assert (both.object_index[: len(missed.who)] == said.object_index[: len(missed.who)]).all()
    assert sorted(tracks.frame[tracks.source == Source.PROPAGATED].tolist()) == list(GONE)
    own = of_object(tracks, 1, missed)
    assert sorted(tracks.frame[own].tolist()) == list(range(missed.info.num_frames))


def test_in_a_short_hole_of_the_detector_the_line_is_left_to_the_model(missed) -> None:
    keys = [drawn(missed, 1, GONE[0] - 1), drawn(missed, 1, GONE[SHORT])]
    said = resolve(keys, missed.info, missed.candidates).constraints
    assert with_fills(missed.candidates, said, filled(missed, 1, GONE[:SHORT], keys)) is said
    keys[1] = drawn(missed, 1, GONE[SHORT + 1])
    said = resolve(keys, missed.info, missed.candidates).constraints
    both = with_fills(missed.candidates, said, filled(missed, 1, GONE[: SHORT + 1], keys))
    assert both.frame[~both.by_person].tolist() == list(GONE[: SHORT + 1])


def test_where_people_say_that_it_is_not_there_nothing_is_filled(missed) -> None:
    keys = [drawn(missed, 1, 20)]
    box = keys[0].drawn
    fills = filled(missed, 1, [*range(13, 20), *range(21, 28)], keys)

    def frames(*answers: Answer) -> list[int]:
        said = resolve([*keys, *answers], missed.info, missed.candidates).constraints
        both = with_fills(missed.candidates, said, fills)
        return sorted(both.frame[~both.by_person].tolist())

    assert frames() == [*range(13, 20), *range(21, 28)]
    ends = Answer("v", Verdict.ENDS, (box, Box(24, box.xyxy)))
    assert frames(ends) == [*range(13, 20), *range(21, 25)]
    starts = Answer("v", Verdict.STARTS, (box, Box(16, box.xyxy)))
    assert frames(starts) == [*range(16, 20), *range(21, 28)]
    absent = Answer("v", Verdict.ABSENT, (box, Box(23, box.xyxy)))
    assert max(frames(absent)) < 23  # it was not followed over a frame in which it is not


def test_an_open_end_is_cut_where_it_comes_upon_a_detection_whatever_people_said_of_that(missed) -> None:
    keys = [drawn(missed, 1, 20)]
    fills = filled(missed, 1, range(21, 38), keys)
    first = GONE[-1] + 1

    def last(*answers: Answer) -> int:
        said = resolve([*keys, *answers], missed.info, missed.candidates).constraints
        both = with_fills(missed.candidates, said, fills)
        return int(both.frame[~both.by_person].max())

    assert last() == first - 1  # from here on the model knows more
    assert last(missed.say("invalid", missed.row(1, first))) == first - 1
    other = Answer("v", Verdict.DIFFERENT, (keys[0].drawn, missed.box(missed.row(1, first))))
    assert last(other) == first - 1
    assert last(drawn(missed, 1, 24, "b")) == 23


def test_an_object_that_the_detector_sees_is_not_followed_beyond_a_person_s_boxes(missed) -> None:
    keys = [drawn(missed, 1, GONE[0] - 1)]
    said = resolve(keys, missed.info, missed.candidates).constraints
    fills = filled(missed, 1, GONE, keys)
    assert with_fills(missed.candidates, said, fills) is said
    under = missed.row(1, GONE[0] - 1)
    said = resolve([*keys, missed.say("invalid", under)], missed.info, missed.candidates).constraints
    assert len(with_fills(missed.candidates, said, fills).frame) == 1 + len(GONE)


def test_objects_that_were_filled_in_one_frame_are_two(missed) -> None:
    keys = [drawn(missed, 1, 10), drawn(missed, 1, 30)]
    other = [drawn(missed, 2, 20, "b")]
    said = resolve([*keys, *other], missed.info, missed.candidates).constraints
    both = with_fills(missed.candidates, said, filled(missed, 1, range(11, 30), keys))
    pairs = {tuple(sorted(both.object_index[pair].tolist())) for pair in both.apart}
    assert pairs == {(0, 1)}
    open_end = with_fills(missed.candidates, said, filled(missed, 1, range(15, 30), keys[:1]))
    alone = resolve([keys[0], *other], missed.info, missed.candidates).constraints
    assert len(with_fills(missed.candidates, alone, filled(missed, 1, range(15, 30), keys[:1])).apart) == 0
    assert len(open_end.apart) > 0  # the same boxes lie between two of a person's here


def test_questions_about_a_filled_track_name_a_box_that_people_said_is_the_object_s(model, missed) -> None:
    keys = [drawn(missed, 1, 10), drawn(missed, 1, 30)]
    fills = filled(missed, 1, GONE, keys)

    def asked(fills: SavedFills | None) -> set[int]:
        video = VideoInput(missed.info, missed.candidates, "", answers=tuple(keys), fills=fills)
        view, _ = look_at("v", video, model, LabelSettings())
        rows = np.flatnonzero(view.tracks.track_index == view.tracks.track_index[view.tracks.source == Source.HUMAN][0])
        assert len(rows) > len(GONE)
        return {int(view.tracks.frame[anchor_row(view, rows, frame)]) for frame in GONE}

    assert asked(fills) == {10, 30}
    assert asked(None) == {11, 28}  # nobody follows the object here, and the nearest detection is as good


def test_random_boxes_that_are_not_trusted_do_not_harm(model, missed) -> None:
    """A tracker that is lost says so, and the labels are what they are without it."""
    rng = np.random.default_rng(0)
    keys = [drawn(missed, 1, 10), drawn(missed, 1, 30)]
    good = filled(missed, 1, range(11, 30), keys)
    moved = good.xyxy + rng.normal(0, 150, (len(good), 1)).astype(np.float32)
    lost = replace(good, xyxy=moved, confidence=rng.uniform(0, LEAST, len(good)).astype(np.float32))
    before, after = (label(model, missed, keys, fills)[0] for fills in (None, lost))
    assert np.array_equal(before.xyxy, after.xyxy)


def test_keyframes_are_the_drawn_boxes_by_object_with_bounds_and_absences(missed) -> None:
    one, two, three = drawn(missed, 1, 5), drawn(missed, 1, 30), drawn(missed, 2, 20, "b")
    answers = [
        one, two, three, Answer("v", Verdict.ABSENT, (one.drawn, Box(17, one.drawn.xyxy))),
        Answer("v", Verdict.ENDS, (three.drawn, Box(25, three.drawn.xyxy))),
    ]  # fmt: skip
    said = resolve(answers, missed.info, missed.candidates).constraints
    keys = keyframes_of(said)
    assert keys.frame.tolist() == [5, 30, 20]
    assert len(np.unique(keys.track)) == 2
    assert keys.track[0] == keys.track[1]
    assert keys.absent.tolist() == [[keys.track[0], 17, 17]]
    assert keys.latest[keys.track[2]] == 25
    assert keys.earliest[keys.track[2]] == keys.latest[keys.track[0]] == -1
    both = with_fills(missed.candidates, said, filled(missed, 2, range(21, 25), [three]))
    assert keyframes_of(both).frame.tolist() == keys.frame.tolist()  # what was filled is no keyframe


def test_filled_boxes_hang_on_the_nearest_drawn_box_of_their_track(missed) -> None:
    keys = Keyframes.sorted(
        np.array([0, 0, 1]), np.array([5, 30, 8]), np.array([true_box(missed, 1, 5)] * 3) + np.arange(3)[:, None]
    )
    fills = Fills(
        np.array([0, 1, 0, 0]), np.array([7, 7, 25, 35]), np.array([true_box(missed, 1, 5)] * 4, np.float32),
        np.full(4, 0.9, np.float32), np.zeros(4, np.uint8),
    )  # fmt: skip
    saved = SavedFills.of(fills, keys)
    assert saved.anchor_frame.tolist() == [5, 8, 30, 30]
    assert saved.digest == SavedFills.of(fills, keys).digest != saved.take(np.array([0, 1])).digest
    with pytest.raises(InputError, match="no keyframe"):
        SavedFills.of(replace(fills, track=np.array([0, 2, 0, 0])), keys)


def test_saved_fills_that_cannot_be_are_refused() -> None:
    good = SavedFills(
        np.array([3]), np.float32([[0, 0, 5, 5]]), np.float32([0.5]), np.uint8([0]), np.array([1]),
        np.float32([[0, 0, 5, 5]]),
    )  # fmt: skip
    for name, value, message in (
        ("confidence", np.float32([1.5]), "between 0 and 1"),
        ("xyxy", np.float32([[5, 0, 5, 5]]), "need area"),
        ("how", np.zeros(2, np.uint8), "column how"),
        ("frame", np.array([-1]), "0-based"),
    ):
        with pytest.raises(InputError, match=message):
            replace(good, **{name: value})
