"""Score one video, and several together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from ...models.errors import InputError
from .clear import Clear, clear
from .comparison import compare
from .hota import Hota, hota
from .identity import Identity, identity
from .preprocessing import preprocess_boxes
from .tables import TrackTable, TruthTable, check_rows

Family = TypeVar("Family", Hota, Clear, Identity)


@dataclass(frozen=True)
class VideoScores:
    """What a prediction is worth, of one video or of several combined.

    Attributes:
        hota: HOTA and its parts, at 19 thresholds.
        clear: MOTA and its counts.
        identity: IDF1 and its counts.
        num_frames: frames of the video or videos.
        num_truth: ground-truth boxes that were scored.
        num_predictions: predicted boxes that were scored.
    """

    hota: Hota
    clear: Clear
    identity: Identity
    num_frames: int
    num_truth: int
    num_predictions: int

    def as_dict(self, *, percent: bool = False) -> dict[str, float | int]:
        """All numbers by the names that the field's tables use.

        Args:
            percent: give rates times 100, rounded to 4 decimals, as tables do; else fractions as they are.

        Returns:
            rates (HOTA, DetA, AssA, LocA, DetRe, DetPr, AssRe, AssPr as means over the thresholds; MOTA, MOTP; IDF1,
            IDP, IDR) as float, counts (IDSW, FP, FN, TP, MT, PT, ML, Frag, IDTP, IDFP, IDFN, frames, gt_boxes,
            pred_boxes) as int.
        """
        rates = {key: float(value.mean()) for key, value in self.hota.rates().items()}
        rates |= self.clear.rates() | self.identity.rates()
        if percent:
            rates = {key: round(100 * value, 4) for key, value in rates.items()}
        return rates | {
            "IDSW": self.clear.switches,
            "FP": self.clear.fp,
            "FN": self.clear.fn,
            "TP": self.clear.tp,
            "MT": self.clear.mostly_tracked,
            "PT": self.clear.partly_tracked,
            "ML": self.clear.mostly_lost,
            "Frag": self.clear.fragments,
            "IDTP": self.identity.tp,
            "IDFP": self.identity.fp,
            "IDFN": self.identity.fn,
            "frames": self.num_frames,
            "gt_boxes": self.num_truth,
            "pred_boxes": self.num_predictions,
        }


def evaluate_video(
    truth: TruthTable,
    prediction: TrackTable,
    num_frames: int,
    preprocess: str | None = None,
    *,
    name: str = "video",
) -> VideoScores:
    """Score the predicted tracks of one video.

    Classes do not matter to the matching: give boxes of one class at a time where they should. Ignored ground truth is
    never scored.

    Args:
        truth: what is there.
        prediction: what was predicted.
        num_frames: length of the video.
        preprocess: None, or the rules of a benchmark: "mot17" (also MOT16) or "mot20".
        name: of the video, for messages.

    Raises:
        InputError: for a frame outside the video, a box that is not finite, a track with two boxes in a frame, an
            unknown kind of preprocessing, or a class that it does not know; names video, frame and id.
    """
    check_rows(truth, num_frames, name)
    check_rows(prediction, num_frames, name)
    order = np.argsort(truth.frame, kind="stable")
    order2 = np.argsort(prediction.frame, kind="stable")
    comparison = compare(
        (truth.frame[order], truth.track_id[order], truth.xyxy[order]),
        (prediction.frame[order2], prediction.track_id[order2], prediction.xyxy[order2]),
        num_frames,
    )
    class_id = _column(truth.class_id, order, 1)
    ignored = _column(truth.ignored, order, 0).astype(bool)
    comparison = preprocess_boxes(comparison, class_id, ignored, preprocess, name)
    return VideoScores(
        hota(comparison),
        clear(comparison),
        identity(comparison),
        num_frames,
        comparison.num_truth,
        comparison.num_predictions,
    )


def _column(column: NDArray | None, order: NDArray[np.intp], default: int) -> NDArray:
    """A column that may be absent, in the given order."""
    return np.full(len(order), default) if column is None else column[order]


def combine(scores: Sequence[VideoScores]) -> VideoScores:
    """The scores of several videos as one: counts are added and rates follow, so a video weighs by its boxes.

    Raises:
        InputError: when there is nothing to combine.
    """
    if not scores:
        raise InputError("there are no videos to combine scores of")
    return VideoScores(
        _added([score.hota for score in scores]),
        _added([score.clear for score in scores]),
        _added([score.identity for score in scores]),
        sum(score.num_frames for score in scores),
        sum(score.num_truth for score in scores),
        sum(score.num_predictions for score in scores),
    )


def _added(parts: Sequence[Family]) -> Family:
    """Field by field sum."""
    kind = type(parts[0])
    return kind(**{field.name: sum(getattr(part, field.name) for part in parts) for field in fields(kind)})
