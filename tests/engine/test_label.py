from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spam_plugin.engine import label
from spam_plugin.engine.claims import Claims, select_rows, without_claimed
from spam_plugin.engine.label import label_videos
from spam_plugin.engine.ports import VideoInput, Written
from spam_plugin.models.columns import Candidates, Tracks, VideoInfo
from spam_plugin.models.errors import InputError


@dataclass(frozen=True)
class Settings:
    doubt: float = 0.25


def tracks_of(frame, track, xyxy=None, class_index=None, doubt=0.25):
    count, number = len(frame), len(set(track))
    column = np.full(count, doubt, np.float32)
    return Tracks(
        frame=np.array(frame, np.int64),
        xyxy=np.array(xyxy if xyxy is not None else [[0, 0, 10, 10]] * count, np.float32).reshape(-1, 4),
        track_index=np.array(track, np.int64),
        class_index=np.array(class_index if class_index is not None else [0] * count, np.int64),
        validity=1 - column,
        uncertainty=column,
        link_uncertainty=column * 2,
        source=np.zeros(count, np.uint8),
        keyframe=np.zeros(count, bool),
        candidate_index=np.arange(count),
        track_validity=np.arange(number, dtype=np.float32) / max(number, 1),
        track_uncertainty=np.zeros(number, np.float32),
    )


class Model:
    version = "m1"

    def __init__(self, fail_at=None):
        self.fail_at = fail_at
        self.calls = []

    def label(self, videos, settings):
        self.calls.append([info.name for info, _ in videos])
        if self.fail_at in self.calls[-1]:
            raise KeyboardInterrupt
        return [tracks_of(c.frame.tolist(), [0] * len(c), c.xyxy, doubt=settings.doubt) for _, c in videos]


class Store:
    """Videos in memory: name -> frames of its candidates; the notes of a run as FiftyOne's store keeps them."""

    def __init__(self, **videos):
        self.candidates = videos
        self.written = {}
        self.notes = {}
        self.run = None
        self.reports = []

    def videos(self):
        return [(name, name) for name in self.candidates]

    def read(self, key, skip_bad):
        frame = np.array(self.candidates[key], np.int64)
        if (frame < 0).any():
            raise InputError(f"video {key!r} cannot be read")
        count = len(frame)
        boxes = np.tile(np.float32([0, 0, 10, 10]), (count, 1))
        columns = Candidates(frame, boxes, np.ones(count, np.float32), np.zeros(count, np.int64))
        return VideoInput(VideoInfo(key, 100, 20, 20, 10), columns, repr(frame), {"odd": 1} if skip_bad else {})

    def begin(self, configuration):
        if self.run != configuration:
            self.run, self.notes = configuration, {}
        return dict(self.notes)

    def write(self, key, tracks):
        self.written[key] = tracks
        return Written(tracks)

    def record(self, key, finished):
        self.notes[key] = finished

    def finish(self, report):
        self.reports.append(report)
        self.run, self.notes = None, {}


@pytest.fixture
def one_at_a_time(monkeypatch):
    monkeypatch.setattr(label, "BOXES_PER_CALL", 1)


def test_every_video_is_labelled_and_reported():
    store, steps = Store(a=[0, 1], b=[0], empty=[]), []
    report = label_videos(store, Model(), Settings(), steps.append, skip_bad=True)
    assert [video.name for video in report.videos] == ["a", "b", "empty"]
    a, _, empty = report.videos
    assert (a.candidates, a.boxes, a.tracks, a.mean_uncertainty, a.max_uncertainty) == (2, 2, 1, 0.5, 0.5)
    assert (empty.boxes, empty.tracks, empty.mean_uncertainty, empty.max_uncertainty) == (0, 0, 0, 0)
    assert report.left_out == {"odd": 3}
    assert report.as_dict()["overall"]["boxes"] == 3
    assert store.reports == [report.as_dict()]
    assert [(s.stage, s.done, s.total) for s in steps] == [
        (stage, done, 3) for stage in ("reading", "labelling") for done in (1, 2, 3)
    ]


def test_small_videos_are_labelled_in_one_call():
    model = Model()
    label_videos(Store(a=[0, 1], b=[0]), model, Settings())
    assert model.calls == [["a", "b"]]


def test_an_interrupted_run_finishes_only_the_rest(one_at_a_time):
    store, whole = Store(a=[0, 1], b=[0], c=[0, 5]), Store(a=[0, 1], b=[0], c=[0, 5])
    with pytest.raises(KeyboardInterrupt):
        label_videos(store, Model(fail_at="b"), Settings())
    assert set(store.written) == {"a"}
    again = Model()
    report = label_videos(store, again, Settings())
    assert again.calls == [["b"], ["c"]]
    assert report.resumed == 1
    label_videos(whole, Model(), Settings())
    assert [video.name for video in report.videos] == ["a", "b", "c"]
    for name, tracks in whole.written.items():
        np.testing.assert_equal(vars(store.written[name]), vars(tracks))


def test_a_finished_run_starts_anew(one_at_a_time):
    store, model = Store(a=[0], b=[0]), Model()
    for _ in range(2):
        label_videos(store, model, Settings())
    assert model.calls == [["a"], ["b"], ["a"], ["b"]]


def test_other_settings_another_model_or_other_candidates_are_not_gone_on_with(one_at_a_time):
    def interrupted():
        store = Store(a=[0], b=[0])
        with pytest.raises(KeyboardInterrupt):
            label_videos(store, Model(fail_at="b"), Settings())
        return store

    model = Model()
    label_videos(interrupted(), model, Settings(doubt=0.5))
    assert model.calls == [["a"], ["b"]]

    model = Model()
    model.version = "m2"
    label_videos(interrupted(), model, Settings())
    assert model.calls == [["a"], ["b"]]

    model, store = Model(), interrupted()
    store.candidates["a"] = [0, 1]
    assert label_videos(store, model, Settings()).resumed == 0
    assert model.calls == [["a"], ["b"]]


def test_bad_input_leaves_the_store_as_it_was():
    store = Store(a=[0], bad=[-1])
    with pytest.raises(InputError, match="'bad' cannot be read"):
        label_videos(store, Model(), Settings())
    assert store.run is None
    assert not store.written


def test_a_video_that_cannot_be_read_is_skipped_if_asked_and_reported():
    store = Store(a=[0], bad=[-1])
    report = label_videos(store, Model(), Settings(), skip_bad=True)
    assert report.skipped == {"bad": "video 'bad' cannot be read"}
    assert [video.name for video in report.videos] == ["a"]


@pytest.mark.parametrize(("videos", "skip_bad"), [({"a": []}, False), ({"a": [], "b": [-1]}, True)])
def test_no_candidates_at_all_is_an_error(videos, skip_bad):
    with pytest.raises(InputError, match="nothing to label"):
        label_videos(Store(**videos), Model(), Settings(), skip_bad=skip_bad)


def test_videos_that_do_not_fit_into_memory_together_are_read_again(monkeypatch):
    monkeypatch.setattr(label, "BYTES_HELD", 0)
    store = Store(a=[0], b=[0, 1])
    label_videos(store, Model(), Settings())
    assert {name: len(tracks) for name, tracks in store.written.items()} == {"a": 1, "b": 2}


def test_boxes_that_double_a_claim_of_their_frame_and_class_give_way():
    box, near, far = [0, 0, 10, 10], [2, 0, 12, 10], [6, 0, 16, 10]
    tracks = tracks_of([0, 0, 0, 1], [0, 1, 2, 0], [near, far, box, box], [0, 0, 1, 0])
    claims = Claims(np.array([0]), np.array([box], float), np.array([0]))
    left = without_claimed(tracks, claims)
    assert left.candidate_index.tolist() == [1, 2, 3]
    assert left.frame.tolist() == [0, 0, 1]
    assert without_claimed(tracks, Claims(np.zeros(0, int), np.zeros((0, 4)), np.zeros(0, int))) is tracks


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 4), st.booleans()), unique_by=lambda row: row[:2]))
def test_selected_rows_are_valid_tracks_numbered_by_their_first_frames(rows):
    known = sorted({track for _, track, _ in rows})
    rows = sorted((frame, known.index(track), keep) for frame, track, keep in rows)
    tracks = tracks_of([row[0] for row in rows], [row[1] for row in rows])
    keep = np.array([row[2] for row in rows], bool)
    left = select_rows(tracks, keep)
    assert sorted(left.candidate_index) == np.flatnonzero(keep).tolist()
    if keep.all():
        return
    rows_left = list(zip(left.frame.tolist(), left.track_index.tolist(), strict=True))
    assert rows_left == sorted(rows_left)
    numbers, first = np.unique(left.track_index, return_index=True)
    assert numbers.tolist() == list(range(left.num_tracks))
    assert (np.diff(left.frame[first]) >= 0).all()
    before = tracks.track_index[left.candidate_index]
    pairs = set(zip(before.tolist(), left.track_index.tolist(), strict=True))
    assert len(pairs) == left.num_tracks
    for old, new in pairs:
        assert left.track_validity[new] == tracks.track_validity[old]
