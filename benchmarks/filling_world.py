"""What filling is measured on: truth every n-th frame as a person's boxes, and what lies between them to be filled.

A track is boxed at its first frame, every n-th frame after it, and at its last one, and the same again after every gap
in its truth: nobody fills frames in which the truth has no box. All ways of filling see the same boxes and are scored
on the same frames between them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from keyframing import HONEST
from numpy.typing import NDArray
from sequences import Sequence as Video
from sequences import targets

from spam_plugin.models.columns import VideoInfo
from spam_plugin.models.spam.overlaps import paired_iou
from spam_plugin.models.synthetic.render import RenderSettings, Truth, render

STEPS = (20, 30)
#: The sequences that are reported; nothing is trained, tuned or chosen on them.
REPORTED = ("TUD-Campus", "KITTI-17", "DragonBaby", "Girl", "Car4", "PETS09-S2L1", "MOT16-09")
#: Where targets move fast against their size: a straight line is at its worst.
FAST = ("DragonBaby", "Girl", "KITTI-17")
#: Looked at while the tracker was built.
DEVELOPMENT = ("TUD-Stadtmitte",)

_FILMS = 7_707_077  # with which seeds of films begin
_SEEN = 0.25  # share of an object that a person must see to box it


@dataclass(frozen=True)
class Gaps:
    """Boxes of a person in one video, and the truth between them.

    Attributes:
        track: (K,) int64, of the person's boxes; sorted by track and frame.
        frame: (K,) int64.
        xyxy: (K, 4) float64 pixels.
        absent: (A, 3) int64, (track, first, last) of frames in which a track has no truth.
        to_fill: (M,) int64 tracks of the truth between the boxes; sorted by track and frame.
        at: (M,) int64 their frames.
        truth: (M, 4) float64 pixels.
        left: (M,) int64 row of the person's last box before.
    """

    track: NDArray[np.int64]
    frame: NDArray[np.int64]
    xyxy: NDArray[np.float64]
    absent: NDArray[np.int64]
    to_fill: NDArray[np.int64]
    at: NDArray[np.int64]
    truth: NDArray[np.float64]
    left: NDArray[np.int64]

    @property
    def part(self) -> NDArray[np.float64]:
        """(M,) how far between the boxes around it a frame lies, from 0 at the left one to 1 at the right one."""
        before = self.frame[self.left]
        return (self.at - before) / (self.frame[self.left + 1] - before)

    def rows_of(self, track: NDArray, frame: NDArray) -> NDArray[np.int64]:
        """(N,) rows of the frames to fill in which some (track, frame) lie; -1 for those that are not to be filled."""
        width = int(max(self.at.max(initial=0), np.max(frame, initial=0))) + 1
        own = self.to_fill * width + self.at  # ascending
        asked = np.asarray(track, np.int64) * width + np.asarray(frame, np.int64)
        place = np.minimum(np.searchsorted(own, asked), max(len(own) - 1, 0))
        return np.where(own[place] == asked, place, -1) if len(own) else np.full(len(asked), -1)


def gaps_of(track: NDArray, frame: NDArray, xyxy: NDArray, step: int) -> Gaps:
    """A person's boxes every ``step`` frames of each track, and what is left to fill.

    Args:
        track: (N,) of the truth, in any order.
        frame: (N,) the same.
        xyxy: (N, 4) pixels.
        step: frames from one box to the next.
    """
    order = np.lexsort((frame, track))
    track, frame, xyxy = np.asarray(track)[order], np.asarray(frame)[order], np.asarray(xyxy, float)[order]
    breaks = (np.diff(track) != 0) | (np.diff(frame) != 1)
    starts = np.append(True, breaks)[: len(track)]
    first = np.flatnonzero(starts)[np.cumsum(starts) - 1]  # row in which the unbroken part of each row begins
    last_of_part = np.append(breaks, True)[: len(track)]
    key = ((frame - frame[first]) % step == 0) | last_of_part
    missing = np.flatnonzero((np.diff(track) == 0) & (np.diff(frame) > 1))
    absent = np.stack([track[missing], frame[missing] + 1, frame[missing + 1] - 1], 1)
    left = np.cumsum(key) - 1
    return Gaps(
        track[key], frame[key], xyxy[key], absent, track[~key], frame[~key], xyxy[~key], left[~key].astype(np.int64)
    )


def straight(gaps: Gaps) -> NDArray[np.float64]:
    """(M, 4) boxes on straight lines between the person's."""
    part = gaps.part[:, None]
    return gaps.xyxy[gaps.left] * (1 - part) + gaps.xyxy[gaps.left + 1] * part


def overlap(gaps: Gaps, xyxy: NDArray) -> NDArray[np.float64]:
    """(M,) IoU of some boxes with the truth between the person's; 0 where a box is not a number."""
    known = np.isfinite(xyxy).all(1)
    return np.where(known, paired_iou(np.where(known[:, None], xyxy, gaps.truth), gaps.truth), 0.0)


def spread(gaps: Gaps, most: int) -> NDArray[np.bool_]:
    """(K,) at most so many of each track's boxes: evenly spread over them, the first and the last among them."""
    chosen = np.zeros(len(gaps.track), bool)
    for number in np.unique(gaps.track):
        rows = np.flatnonzero(gaps.track == number)
        places = [len(rows) // 2] if most == 1 else np.linspace(0, len(rows) - 1, min(most, len(rows)))
        chosen[rows[np.round(places).astype(int)]] = True
    return chosen


def only(gaps: Gaps, chosen: NDArray[np.bool_]) -> tuple[Gaps, NDArray[np.float64]]:
    """The same with fewer boxes of the person: the other ones are to be filled as well.

    Args:
        gaps: boxes, and what lies between them.
        chosen: (K,) bool, boxes that stay; at least one of each track.

    Returns:
        What is left, whose ``left`` means nothing; and (M, 4) boxes on straight lines through the boxes that stay,
        held still before the first and behind the last of a track.
    """
    track = np.concatenate([gaps.to_fill, gaps.track[~chosen]])
    at = np.concatenate([gaps.at, gaps.frame[~chosen]])
    order = np.lexsort((at, track))
    track, at, truth = track[order], at[order], np.concatenate([gaps.truth, gaps.xyxy[~chosen]])[order]
    line = np.zeros_like(truth)
    for number in np.unique(track):
        rows, keys = track == number, chosen & (gaps.track == number)
        line[rows] = np.stack([np.interp(at[rows], gaps.frame[keys], side) for side in gaps.xyxy[keys].T], 1)
    rest = Gaps(
        gaps.track[chosen], gaps.frame[chosen], gaps.xyxy[chosen], gaps.absent, track, at, truth, np.zeros_like(track)
    )
    return rest, line


@dataclass(frozen=True)
class Score:
    """How well frames were filled.

    Attributes:
        iou: mean over the frames, percent.
        half: share of them above an IoU of 0.5, percent.
        good: share above 0.7, percent.
    """

    iou: float
    half: float
    good: float

    @classmethod
    def of(cls, overlaps: NDArray) -> Score:
        """Of the overlaps of one sequence."""
        return cls(*(100 * float(np.mean(v)) for v in (overlaps, overlaps > 0.5, overlaps > 0.7)))

    @classmethod
    def mean(cls, scores: Iterable[Score]) -> Score:
        """Over sequences, each with the same weight."""
        return cls(*np.mean([[s.iou, s.half, s.good] for s in scores], 0).tolist())

    def __str__(self) -> str:
        """As tables show it."""
        return f"{self.iou:.1f} / {self.half:.1f} / {self.good:.1f}"


def shown(name: str) -> str:
    """A sequence's name with a mark where its own truth was drawn with straight lines between keyframes."""
    return name if name in HONEST else f"{name} *"


@dataclass(frozen=True)
class Scene:
    """A video, its truth, and its pictures.

    Attributes:
        video: name, length, size and frame rate.
        track: (N,) int64 of the truth, from 0.
        frame: (N,) int64.
        xyxy: (N, 4) float64 pixels.
        picture: gives a frame as (H, W, 3) uint8, RGB.
    """

    video: VideoInfo
    track: NDArray[np.int64]
    frame: NDArray[np.int64]
    xyxy: NDArray[np.float64]
    picture: Callable[[int], NDArray[np.uint8]]

    @property
    def name(self) -> str:
        """What tables call it."""
        return self.video.name

    def gaps(self, step: int) -> Gaps:
        """A person's boxes every so many frames, and what lies between them."""
        return gaps_of(self.track, self.frame, self.xyxy, step)

    def read(self, frames: Sequence[int]) -> Iterator[tuple[int, NDArray[np.uint8]]]:
        """Pictures in the order asked for, as the engine wants them."""
        return ((int(frame), self.picture(int(frame))) for frame in frames)


def scene_of(video: Video) -> Scene:
    """A sequence with images, and its targets."""
    truth, images = targets(video.truth()), video.images
    _, track = np.unique(truth.track_id, return_inverse=True)

    def picture(frame: int) -> NDArray[np.uint8]:
        return np.ascontiguousarray(cv2.imread(str(images[frame]))[..., ::-1])

    return Scene(video.video, track.astype(np.int64), truth.frame.astype(np.int64), truth.xyxy.astype(float), picture)


def film(seed: int, frames: int = 120) -> Scene:
    """A rendered film of a seed that nothing is trained on; truth is what a person could see a quarter of.

    Films of even seeds show people, others cars.
    """
    scene, domain = ("street", "road")[seed % 2], ("town", "depot")[seed // 2 % 2]
    camera = ("still", "shake", "walk", "pan")[seed % 4]
    settings = RenderSettings(
        f"film-{seed}", frames, 480, 270, 25.0, scene, num_objects=8, num_occluders=3, camera=camera, domain=domain
    )
    made = list(render(settings, np.random.default_rng([_FILMS, seed])))
    truth = Truth.join([each.truth for each in made])
    seen = truth.visibility >= _SEEN
    _, track = np.unique(truth.track[seen], return_inverse=True)
    pictures = [np.ascontiguousarray(each.image[..., ::-1]) for each in made]
    return Scene(
        settings.info, track.astype(np.int64), truth.frame[seen], truth.xyxy[seen].astype(float), pictures.__getitem__
    )
