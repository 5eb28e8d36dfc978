"""What a CVAT user gets today: boxes drawn at keyframes, straight lines between them.

    python benchmarks/keyframing.py [--data FOLDER] [--out FILE.md] [--json FILE.json]

track-n draws a box at the start of a track, at every n-th frame after it and at its end, and the same again after every
gap; grid-n draws only at every n-th frame of the video; best-iou is the fewest keyframes (greedy) for which no
interpolated box falls under that overlap, which needs the truth to choose and is shown as a bound only. A box is two
clicks, a track one; effort is their share of three clicks a ground-truth box.

Keyframing at its best is the upper concave hull of the points of track-n and grid-n and of (0, 0): part of the video
done densely, the rest not at all. For the mean of a group it is the higher of the mean of the sequences' own hulls and
of the hull of the methods' means.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from reporting import command_line, publish, start, table
from scoring import score
from sequences import Sequence as Video
from sequences import find_sequences, shared_folder, targets

from spam_plugin.engine.metrics import TrackTable, TruthTable
from spam_plugin.models.spam.overlaps import paired_iou

METRICS = ("HOTA", "IDF1", "MOTA")
STEPS = (2, 3, 5, 7, 10, 15, 20, 30, 45, 60)
BOUNDS = (0.9, 0.75, 0.5)
EFFORTS = (1.0, 2.0, 3.3, 5.0, 7.5, 10.0)
# Sequences whose ground truth was not itself interpolated linearly.
HONEST = frozenset({
    "ETH-Bahnhof", "ETH-Sunnyday", "ETH-Pedcross2", "KITTI-13", "KITTI-17", "KITTI-car-0001", "KITTI-car-0006",
    "KITTI-car-0008", "KITTI-car-0010", "KITTI-car-0018", "KITTI-car-0019", "MOT17-13", "TUD-Campus", "DragonBaby",
    "Girl",
})  # fmt: skip


@dataclass(frozen=True)
class Curve:
    """A piecewise linear curve.

    Attributes:
        effort: (K,) percent, ascending from 0.
        value: (K,) percent.
    """

    effort: NDArray[np.float64]
    value: NDArray[np.float64]

    def at(self, effort: NDArray | float) -> NDArray[np.float64]:
        """Values at some efforts; that of the last point beyond it."""
        return np.interp(effort, self.effort, self.value)

    def effort_for(self, value: float) -> float | None:
        """Least effort at which a value is reached, or None."""
        reached = np.flatnonzero(self.value >= value)
        if not len(reached):
            return None
        last = int(reached[0])
        if last == 0:
            return float(self.effort[0])
        low, high = self.value[last - 1], self.value[last]
        part = (value - low) / max(high - low, 1e-12)
        return float(self.effort[last - 1] + part * (self.effort[last] - self.effort[last - 1]))


def upper_hull(effort: NDArray, value: NDArray) -> Curve:
    """The least concave curve over all points and (0, 0)."""
    points = sorted(
        {(0.0, 0.0), *zip(np.asarray(effort, float).tolist(), np.asarray(value, float).tolist(), strict=True)}
    )
    hull: list[tuple[float, float]] = []
    for x, y in points:
        while len(hull) > 1:
            (x1, y1), (x2, y2) = hull[-2:]
            if (x2 - x1) * (y - y1) < (x - x1) * (y2 - y1):
                break
            hull.pop()
        if len(hull) == 1 and hull[0][0] == x:
            hull.pop()
        hull.append((x, y))
    best = int(np.argmax([y for _, y in hull]))  # nobody has to spend more for less
    return Curve(np.array([x for x, _ in hull[: best + 1]]), np.array([y for _, y in hull[: best + 1]]))


def keyframing_points(video: Video) -> list[dict]:
    """Effort and scores of every method on one sequence."""
    truth, everything = targets(video.truth()), video.truth()
    order = np.lexsort((truth.frame, truth.track_id))
    truth = TruthTable(truth.frame[order], truth.track_id[order], truth.xyxy[order])
    choices: dict[str, Callable[[NDArray, NDArray], NDArray]] = {"all": lambda frame, xyxy: np.arange(len(frame))}
    choices |= {f"track-{n}": lambda frame, xyxy, n=n: _every(len(frame), n) for n in STEPS}
    choices |= {f"grid-{n}": lambda frame, xyxy, n=n: np.flatnonzero(frame % n == 0) for n in STEPS}
    choices |= {f"best-iou{round(100 * b)}": lambda frame, xyxy, b=b: _fewest(frame, xyxy, b) for b in BOUNDS}
    return [_point(video, everything, truth, name, choose) for name, choose in choices.items()]


def keyframing_curves(points: Sequence[Mapping]) -> dict[str, Curve]:
    """For every metric, keyframing at its best on one sequence."""
    fair = [point for point in points if not point["method"].startswith("best")]
    return {
        metric: upper_hull(np.array([p["effort"] for p in fair]), np.array([p[metric] for p in fair]))
        for metric in METRICS
    }


def group_curve(points: Sequence[Sequence[Mapping]], metric: str) -> Curve:
    """Keyframing at its best for the mean of some sequences, every quarter of a percent of effort."""
    efforts = np.arange(0, 20.01, 0.25)
    own = np.mean([keyframing_curves(p)[metric].at(efforts) for p in points], 0)
    names = [p["method"] for p in points[0] if not p["method"].startswith("best")]
    means = [
        [np.mean([next(p for p in one if p["method"] == name)[key] for one in points]) for key in ("effort", metric)]
        for name in names
    ]
    together = upper_hull(*np.array(means).T).at(efforts)
    return Curve(efforts, np.maximum(own, together))


def _point(
    video: Video, everything: TruthTable, truth: TruthTable, name: str, choose: Callable[[NDArray, NDArray], NDArray]
) -> dict:
    frames, ids, boxes = [], [], []
    drawn, tracks = 0, 0
    for track in np.unique(truth.track_id):
        rows = np.flatnonzero(truth.track_id == track)
        cuts = np.flatnonzero(np.diff(truth.frame[rows]) > 1) + 1
        any_drawn = False
        for part in np.split(rows, cuts):
            keys = choose(truth.frame[part], truth.xyxy[part])
            if not len(keys):
                continue
            drawn, any_drawn = drawn + len(keys), True
            line = _lines(truth.frame[part], truth.xyxy[part], keys)
            frames.append(truth.frame[part][keys[0] : keys[-1] + 1])
            ids.append(np.full(len(line), track))
            boxes.append(line)
        tracks += any_drawn
    labels = (
        TrackTable(np.concatenate(frames), np.concatenate(ids), np.concatenate(boxes)) if frames else TrackTable.empty()
    )
    clicks = 2 * drawn + tracks
    scores = score(video, everything, labels)
    return {
        "method": name, "boxes": 100 * drawn / len(truth), "tracks": tracks, "clicks": clicks,
        "effort": 100 * clicks / (3 * len(truth)), **{metric: scores[metric] for metric in METRICS},
    }  # fmt: skip


def _every(length: int, n: int) -> NDArray[np.int64]:
    return np.unique(np.append(np.arange(0, length, n), length - 1))


def _lines(frame: NDArray, xyxy: NDArray, keys: NDArray) -> NDArray[np.float64]:
    """Straight lines over the frames that the keys span."""
    over = frame[keys[0] : keys[-1] + 1]
    return np.stack([np.interp(over, frame[keys], side) for side in xyxy[keys].T], 1)


def _fewest(frame: NDArray, xyxy: NDArray, least: float) -> NDArray[np.int64]:
    """Keys, each as far behind the last as a straight line keeps the overlap: gallop ahead, then close in."""
    keys, last = [0], len(frame) - 1

    def good(at: int, to: int) -> bool:
        line = _lines(frame, xyxy, np.array([at, to]))
        return bool(paired_iou(line, xyxy[at : to + 1].astype(float)).min() >= least)

    while keys[-1] < last:
        at, reach, step = keys[-1], keys[-1] + 1, 1
        while reach + step <= last and good(at, reach + step):
            reach += step
            step *= 2
        while step >= 1:
            if reach + step <= last and good(at, reach + step):
                reach += step
            step //= 2
        keys.append(reach)
    return np.array(keys)


def groups_of(videos: Sequence[Video]) -> dict[str, list[Video]]:
    """The sets, and the honest sequences of all of them."""
    out: dict[str, list[Video]] = {}
    for video in videos:
        out.setdefault(video.set_name, []).append(video)
        if video.name in HONEST:
            out.setdefault("honest", []).append(video)
    return out


def main() -> None:
    """Score all methods on all sequences and print keyframing at its best."""
    parser = command_line(__doc__)
    args = parser.parse_args()
    videos = find_sequences(shared_folder(args.data), args.sets, args.sequences)
    points = {video.name: keyframing_points(video) for video in videos}
    rows, bounds = [], []
    for name, members in groups_of(videos).items():
        own = [points[video.name] for video in members]
        curves = {metric: group_curve(own, metric) for metric in METRICS}
        cells = [" / ".join(f"{curves[m].at(e):.1f}" for m in METRICS) for e in EFFORTS]
        rows.append([name, len(members), *cells, curves["IDF1"].effort_for(95)])
        for number, bound in enumerate(BOUNDS):
            of = [one[number - len(BOUNDS)] for one in own]
            bounds.append(
                [name, bound, *(float(np.mean([p[key] for p in of])) for key in ("boxes", "effort", *METRICS))]
            )
    text = [
        "HOTA / IDF1 / MOTA of keyframing at its best, by percent of effort; the effort at which its IDF1 reaches 95.",
        table(["group", "sequences", *(f"{e:g} %" for e in EFFORTS), "effort for IDF1 95"], rows),
        "## The fewest keyframes that keep an overlap\n\nTheir choice needs the truth: a bound, not part of the curve.",
        table(["group", "overlap", "boxes %", "effort %", *METRICS], bounds),
    ]
    publish(args, "Keyframing", text, points)


if __name__ == "__main__":
    start(main)
