"""What the tracker learns from, how it is judged, and the version that comes out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from striped_figures import HEIGHT, LENGTH, WIDTH, picture, place, tiny_tracker

from spam_plugin.engine import adapting
from spam_plugin.engine.adapting import AdaptPlan, AdaptVideo, LabelBoxes, adapt_tracker, confident_anchors, gather
from spam_plugin.engine.filling import Keyframes
from spam_plugin.engine.reels import Reel, near
from spam_plugin.engine.versions import DEFAULT, Version
from spam_plugin.models.columns import VideoInfo
from spam_plugin.models.errors import InputError
from spam_plugin.models.fitting import FitResult
from spam_plugin.models.spot import model
from spam_plugin.models.spot.adaptation import AdaptSettings
from spam_plugin.models.spot.model import Tracker

QUICK = AdaptPlan(AdaptSettings(steps=4, batch=4, burn_in=0.5, epoch=2, tau=0.0, judges=2, looks=5))


class Film:
    """Pictures of the figures; some frames cannot be read."""

    def __init__(self, broken: Sequence[int] = ()) -> None:
        self.broken, self.asked = set(broken), []

    def read(self, frames: Sequence[int]) -> Iterator[tuple[int, np.ndarray]]:
        self.asked.append(list(frames))
        for frame in frames:
            if frame not in self.broken:
                yield frame, picture(frame)


class Shelf:
    """Versions in memory."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.found, self.used, self.drafts = folder, [], DEFAULT, []

    def versions(self) -> list[Version]:
        return list(self.found)

    def get(self, name: str) -> Version:
        return next((one for one in self.found if one.name == name), Version(DEFAULT, parent=""))

    def in_use(self) -> Version:
        return self.get(self.used)

    def draft(self, purpose: str = "") -> Path:
        self.drafts.append(purpose)
        path = self.folder / purpose
        path.mkdir(exist_ok=True)
        return path

    def add(self, draft: Path, version: Version) -> Version:
        parts = {part: draft / file for part, file in version.parts.items()}
        made = replace(version, name=f"v{len(self.found) + 1:03d}", parts=parts, made=1.0)
        self.found.append(made)
        return made

    def use(self, name: str) -> Version:
        self.used = name
        return self.get(name)


@pytest.fixture(autouse=True)
def _tiny_default(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tiny_tracker().save(tmp_path / "default.safetensors")
    monkeypatch.setattr(model, "DEFAULT_WEIGHTS", tmp_path / "default.safetensors")


@pytest.fixture
def shelf(tmp_path: Path) -> Shelf:
    (tmp_path / "shelf").mkdir()
    return Shelf(tmp_path / "shelf")


def keys(frames: Sequence[int] = (0, 10, 20, 30, 39), tracks: Sequence[int] = (0, 1)) -> Keyframes:
    rows = [(track, frame) for track in tracks for frame in frames]
    track, frame = np.array(rows, np.int64).reshape(-1, 2).T
    return Keyframes.sorted(track, frame, np.array([place(*row) for row in rows], np.float32))


def video(known: Keyframes | None = None, film: Film | None = None, labels: LabelBoxes | None = None) -> AdaptVideo:
    return AdaptVideo(VideoInfo("street", LENGTH, WIDTH, HEIGHT, 10.0), film or Film(), "files", known, labels)


def tracks(doubt: float = 0.1, validity: float = 0.97, gap: int = 0) -> LabelBoxes:
    rows = [(track, frame) for track in (0, 1) for frame in range(LENGTH) if not gap or frame % gap]
    track, frame = np.array(rows, np.int64).T
    xyxy = np.array([place(*row) for row in rows], np.float32)
    said = np.full((2, len(rows)), [[validity], [doubt]], np.float32)
    return LabelBoxes(track, frame, xyxy, said[0], said[1])


def test_boxes_of_people_become_clips_and_only_frames_near_them_are_read() -> None:
    film = Film()
    found = gather({"a": video(keys((3, 30), (0,)), film), "b": video(None)}, replace(QUICK, reach=4))
    assert found.keys == ("a",)
    assert film.asked == [[*range(8), *range(26, 35)]]
    (clip,) = found.clips
    assert clip.readable.tolist() == film.asked[0]
    assert bool(clip.human.all())
    assert np.abs(clip.read(5).astype(int) - picture(5)).mean() < 20  # packed, but the same picture
    assert np.array_equal(clip.read(5), clip.read(5))
    assert found.count() == {"videos": 1, "objects": 1, "human_boxes": 2, "track_boxes": 0, "frames": 17}


def test_of_many_boxes_of_an_object_a_few_are_taken_over_its_whole_time() -> None:
    found = gather({"a": video(keys(range(LENGTH)))}, replace(QUICK, most_boxes=3))
    assert found.clips[0].frame.tolist() == [0, 20, 39] * 2
    single = gather({"a": video(keys(range(LENGTH)))}, replace(QUICK, most_boxes=1))
    assert single.clips[0].frame.tolist() == [20, 20]
    few = gather({"a": video(keys())}, replace(QUICK, objects=1))
    assert set(few.clips[0].track.tolist()) == {0}


def test_a_box_whose_frame_cannot_be_decoded_is_left_out_and_told() -> None:
    found = gather({"a": video(keys(), Film(broken=[10, 11]))}, QUICK)
    assert 10 not in found.clips[0].frame
    assert "2 boxes are left out" in found.notices[0]
    assert "frame 11" in found.notices[0]
    with pytest.raises(InputError, match="cannot be decoded"):
        gather({"a": video(keys(), Film(broken=range(LENGTH)))}, QUICK)


def test_boxes_outside_the_picture_or_the_video_teach_nothing() -> None:
    outside = Keyframes.sorted(
        np.array([0, 0, 1]), np.array([5, 90, 5]),
        np.array([[10, 10, 20, 20], [10, 10, 20, 20], [900, 900, 950, 950]], np.float32),
    )  # fmt: skip
    (clip,) = gather({"a": video(outside)}, QUICK).clips
    assert list(zip(clip.track.tolist(), clip.frame.tolist(), strict=True)) == [(0, 5)]


def test_without_any_box_it_says_what_to_do() -> None:
    with pytest.raises(InputError, match="--self-training"):
        gather({"a": video(None, labels=tracks())}, QUICK)
    with pytest.raises(InputError, match="no track is long, sure and unhidden"):
        gather({"a": video(None, labels=tracks(doubt=0.8))}, replace(QUICK, self_training=True))


def test_sure_tracks_give_a_few_boxes_near_the_middles_of_their_parts() -> None:
    labels = tracks()
    rows = confident_anchors(labels, replace(QUICK, most_boxes=4))
    assert labels.frame[rows].tolist() == [4, 14, 24, 34] * 2 or labels.frame[rows].tolist() == [5, 15, 25, 35] * 2
    found = gather({"a": video(None, labels=labels)}, replace(QUICK, self_training=True))
    assert not found.clips[0].human.any()
    assert "nothing judges it" in found.notices[-1]


@pytest.mark.parametrize("unsure", [{"doubt": 0.8}, {"validity": 0.6}])
def test_tracks_that_are_not_sure_give_none(unsure: dict[str, float]) -> None:
    assert not len(confident_anchors(tracks(**unsure), QUICK))
    assert not len(confident_anchors(tracks(), replace(QUICK, least_length=LENGTH + 1)))


def test_what_another_box_may_hide_is_no_anchor() -> None:
    labels = tracks()
    over = labels.xyxy.copy()
    both = (labels.frame >= 10) & (labels.frame < 32)
    over[both & (labels.track == 1)] = over[both & (labels.track == 0)]  # the one is where the other is
    rows = confident_anchors(replace(labels, xyxy=over), QUICK)
    assert len(rows)
    assert not both[rows].any()


def test_a_new_version_says_what_it_learnt_from_and_is_found_again(shelf: Shelf) -> None:
    told: list[float] = []
    report = adapt_tracker({"a": video(keys())}, shelf, QUICK, tell=lambda share, what: told.append(share))
    version = report.version
    assert version.retrained == ("tracker",)
    assert version.videos == ("a",)
    assert version.parent == DEFAULT
    assert Tracker.load(version.parts["tracker"]).config == tiny_tracker().config
    assert report.lessons["human_boxes"] == 10
    assert report.training["steps"] == 4
    assert version.verdict is not None
    assert version.verdict.answers == 1
    assert report.used is version.promoted
    assert report.said
    assert told == sorted(told)
    assert told[-1] == 1.0
    again = adapt_tracker({"a": video(keys())}, shelf, QUICK)
    assert again.known
    assert again.version.name == version.name
    assert len(shelf.found) == 1
    other = adapt_tracker({"a": replace(video(keys()), digest="other files")}, shelf, QUICK)
    assert not other.known


def test_without_three_boxes_of_an_object_nothing_judges_and_it_is_used_only_if_asked(shelf: Shelf) -> None:
    few = {"a": video(keys((0, 10)))}
    report = adapt_tracker(few, shelf, QUICK)
    assert not report.used
    assert "three boxes" in report.said
    assert adapt_tracker(few, shelf, QUICK, use=True).used
    assert shelf.used == report.version.name


@pytest.mark.parametrize("better", [True, False])
def test_it_is_used_if_held_out_boxes_are_found_better_and_not_if_not(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch, better: bool
) -> None:
    scores = iter([torch.tensor([0.5]), torch.tensor([0.6 if better else 0.5])])
    monkeypatch.setattr(adapting, "follow", lambda *given: next(scores))
    monkeypatch.setattr(
        adapting, "adapt", lambda start, *given: (tiny_tracker(3), FitResult(4, 2, 0.6, ({"step": 4.0},), 0))
    )
    report = adapt_tracker({"a": video(keys())}, shelf, QUICK)
    assert report.used is better
    assert shelf.used == (report.version.name if better else DEFAULT)
    words = "0.600 instead of 0.500" if better else "nothing better"
    assert words in report.said


def test_frames_near_boxes_are_fewer_where_there_would_be_too_many() -> None:
    at = np.array([5, 50])
    assert near(at, 100, 3, 1000).tolist() == [*range(2, 9), *range(47, 54)]
    assert len(near(at, 100, 40, 30)) <= 30
    assert np.isin(at, near(at, 100, 40, 30)).all()
    assert near(at, 100, 40, 1).tolist() == [5, 50]


def test_a_reel_keeps_within_its_memory_and_reads_only_what_it_holds() -> None:
    reel = Reel("street", Film().read([3, 4]), 1 << 20)
    assert reel.frames.tolist() == [3, 4]
    assert 0 < reel.bytes < 1 << 20
    with pytest.raises(InputError, match="frame 8 is not at hand"):
        reel.read(7)
    with pytest.raises(InputError, match="more than 0 MB"):
        Reel("street", Film().read([3, 4]), 100)
