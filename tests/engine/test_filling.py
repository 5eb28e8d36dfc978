"""Gaps between a person's boxes: what must come out, whatever the tracker says."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import pytest
from matching_tracker import MatchingTracker, NonsenseTracker

from spam_plugin.engine.filling import (
    FillReport,
    Fills,
    FillSettings,
    How,
    Keyframes,
    fill_gaps,
    next_keys,
)
from spam_plugin.models.columns import Candidates, VideoInfo
from spam_plugin.models.errors import InputError
from spam_plugin.models.spot.gaps import overlap

SIZE = (240, 160)
SIDE = 24


class World:
    """Textured squares on a noisy ground, their true boxes, and a count of the pictures that were read."""

    def __init__(self, paths: np.ndarray, seed: int = 0, cut: int | None = None, broken: Sequence[int] = ()) -> None:
        """Squares whose corners go along ``paths`` (T, N, 2); another ground from ``cut`` on."""
        self.paths, self.broken, self.cut = paths, set(broken), cut
        self.reads: list[int] = []
        rng = np.random.default_rng(seed)
        self.grounds = [rng.integers(low, low + 60, (SIZE[1], SIZE[0], 3), np.uint8) for low in (60, 190)]
        count = paths.shape[1]
        small = rng.integers(0, 256, (count, 6, 6, 3), np.uint8)
        self.looks = small.repeat(SIDE // 6, 1).repeat(SIDE // 6, 2)

    @property
    def info(self) -> VideoInfo:
        return VideoInfo("world", len(self.paths), *SIZE, 25.0)

    def xyxy(self, track: np.ndarray, frame: np.ndarray) -> np.ndarray:
        low = np.round(self.paths[frame, track])
        return np.concatenate([low, low + SIDE], 1).astype(np.float32)

    def read(self, frames: Sequence[int]) -> Iterator[tuple[int, np.ndarray]]:
        for frame in frames:
            if frame in self.broken:
                continue
            self.reads.append(frame)
            image = self.grounds[int(self.cut is not None and frame >= self.cut)].copy()
            for look, (x, y) in zip(self.looks, np.round(self.paths[frame]).astype(int), strict=True):
                image[max(y, 0) : y + SIDE, max(x, 0) : x + SIDE] = look[max(-y, 0) :, max(-x, 0) :][
                    : max(SIZE[1] - max(y, 0), 0), : max(SIZE[0] - max(x, 0), 0)
                ]
            yield frame, image

    def keys(self, frames: Sequence[int], tracks: Sequence[int] | None = None, **more: np.ndarray) -> Keyframes:
        who = range(self.paths.shape[1]) if tracks is None else tracks
        track, frame = (each.ravel() for each in np.meshgrid(list(who), frames, indexing="ij"))
        return Keyframes(track, frame, self.xyxy(track, frame), **more)

    def overlap(self, fills: Fills) -> np.ndarray:
        return overlap(fills.xyxy, self.xyxy(fills.track, fills.frame))


def curved(frames: int = 25, tracks: int = 1) -> np.ndarray:
    """Half circles, which no straight line follows."""
    angle = np.linspace(0, np.pi, frames)[:, None]
    x = 100 - 70 * np.cos(angle) + 0 * np.arange(tracks)
    y = 20 + 45 * np.sin(angle) + 45 * np.arange(tracks)
    return np.stack([x, y], -1)


def straight(frames: int = 25, tracks: int = 1) -> np.ndarray:
    time = np.arange(frames)[:, None]
    return np.stack([20.0 + 5 * time + 0 * np.arange(tracks), 20.0 + 0 * time + 45 * np.arange(tracks)], -1)


CLOSED = FillSettings(open_frames=0)


def fill(world: World, keys: Keyframes, settings: FillSettings = CLOSED, **more: object) -> tuple[Fills, FillReport]:
    return fill_gaps(MatchingTracker(), world, keys, world.info, settings=settings, **more)  # type: ignore[arg-type]


def test_a_square_that_moves_on_a_curve_is_recovered_from_two_boxes() -> None:
    world = World(curved())
    fills, report = fill(world, world.keys([0, 24]))
    assert fills.frame.tolist() == list(range(1, 24))
    assert world.overlap(fills).min() > 0.9
    assert (fills.how == How.TRACKED).all()
    assert report.gaps == 1
    assert report.tracked == 23


def test_what_comes_out_is_the_same_again_and_sorted_by_frame_and_track() -> None:
    world = World(curved(tracks=2))
    first, second = (fill(world, world.keys([0, 12, 24]))[0] for _ in range(2))
    order = np.lexsort((first.track, first.frame))
    assert (order == np.arange(len(first))).all()
    for key in ("track", "frame", "xyxy", "confidence", "how"):
        assert (getattr(first, key) == getattr(second, key)).all()


def test_every_picture_is_decoded_once_also_when_the_memory_is_short() -> None:
    world = World(curved(60, 2))
    fills, report = fill(world, world.keys([0, 9, 20, 33, 45, 59]))
    assert sorted(world.reads) == list(range(60)) == list(range(report.reads))
    short = World(curved(60, 2))
    squeezed, _ = fill(short, short.keys([0, 9, 20, 33, 45, 59]), FillSettings(open_frames=0, memory=1))
    assert sorted(short.reads) == list(range(60))
    assert np.abs(squeezed.xyxy - fills.xyxy).max() < 3  # pictures were kept as JPEG


def test_frames_between_adjacent_boxes_are_not_even_read() -> None:
    world = World(straight())
    fills, report = fill(world, world.keys([3, 4, 5]))
    assert not len(fills)
    assert not world.reads
    assert report.gaps == 0


def test_one_box_alone_is_followed_both_ways_until_the_object_leaves_the_picture() -> None:
    world = World(straight(50))
    fills, report = fill(world, world.keys([10]), FillSettings())
    assert report.open_ends == 2
    assert report.gaps == 0
    assert {8, 9, 11, 12} <= set(fills.frame.tolist())
    assert 10 not in fills.frame
    assert fills.frame.max() < 47  # out of the picture
    near = np.abs(fills.frame - 10) < 5
    assert world.overlap(fills)[near].min() > 0.8


def test_frames_in_which_the_object_is_absent_stay_empty_and_are_not_crossed() -> None:
    world = World(straight())
    absent = np.array([[0, 8, 12]])
    fills, _ = fill(world, world.keys([2, 20], absent=absent), FillSettings(open_frames=3))
    assert not set(fills.frame.tolist()) & set(range(8, 13))
    assert fills.frame.max() <= 23
    assert not set(fills.frame.tolist()) & {6, 7, 13, 14, 15, 16}


def test_known_ends_of_a_track_are_respected() -> None:
    world = World(straight())
    keys = world.keys([10], earliest=np.array([8]), latest=np.array([13]))
    fills, _ = fill(world, keys, FillSettings())
    assert set(fills.frame.tolist()) <= {8, 9, 11, 12, 13}


def test_what_a_gap_gets_does_not_depend_on_the_other_gaps_that_are_followed_with_it() -> None:
    world = World(curved(tracks=3))
    together, _ = fill(world, world.keys([0, 24]))
    for track in range(3):
        alone, _ = fill(world, world.keys([0, 24], [track]))
        same = together.take(together.track == track)
        assert np.abs(alone.xyxy - same.xyxy).max() < 1e-4
        assert np.abs(alone.confidence - same.confidence).max() < 1e-4


def test_only_the_gaps_beside_a_new_box_are_followed_again() -> None:
    world = World(curved(41))
    cache: dict = {}
    settings = FillSettings(open_frames=0, checks=0)
    fill(world, world.keys([0, 10, 40]), settings, cache=cache)
    world.reads.clear()
    again, report = fill(world, world.keys([0, 10, 40]), settings, cache=cache)
    assert not world.reads
    assert report.looks == 0
    fresh, _ = fill(world, world.keys([0, 10, 40]), settings)
    assert (again.xyxy == fresh.xyxy).all()
    world.reads.clear()
    fill(world, world.keys([0, 10, 25, 40]), settings, cache=cache)
    assert min(world.reads) == 10
    assert max(world.reads) == 40


@pytest.mark.parametrize("every", [6, 12, 24])
@pytest.mark.parametrize("paths", [straight(49, 3) * (0.75, 1), curved(49, 3)])
def test_a_tracker_that_talks_nonsense_is_never_much_worse_than_the_straight_line(
    every: int, paths: np.ndarray
) -> None:
    world = World(paths)
    keys = world.keys(range(0, 49, every))
    fills, _ = fill_gaps(NonsenseTracker(), world, keys, world.info, settings=CLOSED)
    track, frame = fills.track, fills.frame
    left = keys.xyxy.reshape(3, -1, 4)[track, frame // every]
    right = keys.xyxy.reshape(3, -1, 4)[track, frame // every + 1]
    line = left + (right - left) * ((frame % every) / every)[:, None]
    base = overlap(line, world.xyxy(track, frame)).mean()
    assert world.overlap(fills).mean() > base - 0.01


def test_frames_that_cannot_be_decoded_are_filled_with_less_confidence_and_told() -> None:
    world = World(curved(), broken=[11, 12, 13])
    fills, report = fill(world, world.keys([0, 24]))
    assert report.unreadable == (11, 12, 13)
    assert set(range(1, 24)) == set(fills.frame.tolist())
    whole, _ = fill(World(curved()), world.keys([0, 24]))
    dark = np.isin(fills.frame, [11, 12, 13])
    assert (fills.confidence[dark] <= whole.confidence[dark]).all()


def test_a_box_in_a_frame_that_cannot_be_decoded_still_ends_a_gap() -> None:
    world = World(curved(), broken=[24])
    fills, report = fill(world, world.keys([0, 24]))
    assert report.unreadable == (24,)
    assert len(fills) == 23


def test_nobody_is_followed_over_a_cut() -> None:
    world = World(straight(), cut=12)
    fills, report = fill(world, world.keys([0, 24]))
    assert report.cuts == (12,)
    assert report.gaps == 0
    assert report.open_ends == 2
    assert fills.frame.size
    assert (fills.how != How.INTERPOLATED).all()


def test_two_objects_are_not_filled_into_one_place_unless_their_human_boxes_are() -> None:
    """Two squares that look alike and pass each other; one track is drawn to the other one's square."""
    world = World(straight(25, 2))
    keys = world.keys([0, 24])
    box = keys.xyxy.copy()
    box[2:, 1::2] -= 45  # the second track's boxes lie on the first one's square
    twins = Keyframes(keys.track, keys.frame, box)
    friends, _ = fill(world, twins)
    assert (friends.track == 1).sum() == 23  # people said so
    moved = box.copy()
    moved[2:, 1::2] += 11  # human boxes overlap by less than the limit, and the tracker snaps to the square
    rivals = Keyframes(keys.track, keys.frame, moved)
    fills, _ = fill(world, rivals)
    one, two = (fills.take(fills.track == track) for track in (0, 1))
    assert overlap(one.xyxy, two.xyxy).max() <= 0.75


def test_boxes_of_others_push_filled_ones_away_and_lower_their_confidence() -> None:
    world = World(curved())
    free, _ = fill(world, world.keys([0, 24]))
    frame = np.arange(8, 16)
    taken = (frame, world.xyxy(np.zeros(8, np.int64), frame))
    pushed, report = fill(world, world.keys([0, 24]), occupied=taken)
    rows = np.isin(pushed.frame, frame)
    assert report.contested == 8
    assert (pushed.confidence[rows] < free.confidence[rows]).all()
    assert overlap(pushed.xyxy[rows], taken[1]).max() <= 0.7


def test_filled_boxes_snap_to_candidates_only_where_human_boxes_show_that_these_fit_better() -> None:
    world = World(curved(49, 2))
    keys = world.keys(range(0, 49, 8))
    frame = np.repeat(np.arange(49), 2)
    track = np.tile([0, 1], 49)
    exact = world.xyxy(track, frame)
    off = exact + np.array([4, 4, 8, 8], np.float32)
    score, kind = np.linspace(0.5, 1, 98, dtype=np.float32), np.zeros(98, np.int64)
    _, bad = fill(world, keys, candidates=Candidates(frame, off, score, kind))
    assert bad.snapped == 0
    snapped, _ = fill(world, keys, candidates=Candidates(frame, exact, score, kind))
    rows = snapped.how == How.SNAPPED
    assert (world.overlap(snapped)[rows] > 0.99).all()


def test_the_next_box_pays_most_where_most_filled_boxes_are_doubtful() -> None:
    frame = np.arange(1, 30)
    frame = frame[frame != 10]
    doubt = np.where(frame > 10, 0.6, 0.05)
    fills = Fills(
        np.zeros(28, np.int64), frame, np.tile([0, 0, 9, 9], (28, 1)).astype(np.float32),
        (1 - doubt).astype(np.float32), np.zeros(28, np.uint8),
    )  # fmt: skip
    keys = Keyframes(np.zeros(3, np.int64), np.array([0, 10, 30]), np.tile([0, 0, 9, 9], (3, 1)).astype(np.float32))
    best = next_keys(fills, keys, 2)
    assert best.track.tolist() == [0, 0]
    assert 17 <= best.frame[0] <= 23
    assert 1 <= best.frame[1] <= 9
    assert 0.6 < best.gain[0] <= 19 * 0.6
    assert best.gain[1] < best.gain[0]
    assert len(next_keys(fills, keys).frame) == 1
    assert len(next_keys(Fills.empty(), keys).frame) == 0


def test_boxes_that_cannot_be_are_refused_by_track_and_frame() -> None:
    world = World(straight())
    box = world.keys([0]).xyxy
    with pytest.raises(InputError, match="track 4 in frame 7"):
        Keyframes(np.array([4]), np.array([7]), np.array([[5, 5, 5, 9]], np.float32))
    with pytest.raises(InputError, match="track 0 has frame 7 twice"):
        Keyframes(np.array([0, 0]), np.array([7, 7]), np.repeat(box, 2, 0))
    with pytest.raises(InputError, match=r"track 0 in frame 99.*25 frames"):
        fill(world, Keyframes(np.array([0]), np.array([99]), box))
    with pytest.raises(InputError, match=r"track 2 in frame 3.*outside"):
        fill(world, Keyframes(np.array([2]), np.array([3]), box + 500))
    with pytest.raises(InputError, match="max_gap"):
        FillSettings(max_gap=-1)
    with pytest.raises(InputError, match="apart"):
        FillSettings(apart=1.5)


def test_a_box_partly_outside_the_picture_and_no_boxes_at_all_are_fine() -> None:
    world = World(straight() - np.array([30, 0]))
    fills, _ = fill(world, world.keys([0, 20]))
    assert len(fills) == 19
    empty = Keyframes(np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros((0, 4), np.float32))
    fills, report = fill(world, empty)
    assert not len(fills)
    assert report == FillReport()
