"""What a benchmark takes out before it scores: ground truth that does not count, and predictions on distractors.

Source: the evaluation of MOT16/17/20 (Milan et al., arXiv 1603.00831, section 4; Dendorfer et al., arXiv 2003.09003).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ...models.errors import InputError
from .comparison import EPSILON, Comparison, best_pairs

PEDESTRIAN = 1
NUM_CLASSES = 13
# person on vehicle, static person, distractor, reflection; MOT20 adds vehicles that are not motorised
DISTRACTORS: dict[str, tuple[int, ...]] = {"mot17": (2, 7, 8, 12), "mot20": (2, 6, 7, 8, 12)}


def preprocess_names() -> str:
    """The known kinds of preprocessing, for messages."""
    return ", ".join(sorted(DISTRACTORS))


def preprocess_boxes(
    comparison: Comparison,
    class_id: NDArray[np.integer],
    ignored: NDArray[np.bool_],
    preprocess: str | None,
    name: str,
) -> Comparison:
    """Leave only the boxes that are scored.

    Without a benchmark's rules, ignored ground truth goes and that is all. With them, predictions are first matched to
    the ground truth of every class (overlap 0.5), those on a distractor go, and then all ground truth that is ignored
    or no pedestrian.

    Args:
        comparison: all boxes of G true and P predicted rows.
        class_id: (G,) integers, MOTChallenge class of each true box.
        ignored: (G,) bool.
        preprocess: None, "mot17" or "mot20".
        name: of the video, for messages.

    Raises:
        InputError: for an unknown kind of preprocessing, or a class that MOTChallenge does not have.
    """
    prediction_kept = np.ones(comparison.num_predictions, bool)
    truth_kept = ~ignored
    if preprocess is not None:
        if preprocess not in DISTRACTORS:
            raise InputError(f"unknown preprocessing {preprocess!r}; known are {preprocess_names()}")
        unknown = (class_id < PEDESTRIAN) | (class_id > NUM_CLASSES)
        if unknown.any():
            row = int(unknown.argmax())
            raise InputError(
                f"video {name!r}, frame {comparison.truth_frame[row] + 1}: ground truth has class {class_id[row]}, "
                f"which is no class of MOTChallenge (1 to {NUM_CLASSES}); evaluate without preprocessing"
            )
        good = comparison.with_pairs(comparison.pair_iou >= 0.5 - EPSILON)
        matched = good.with_pairs(best_pairs(good, good.pair_iou))
        on_distractor = np.isin(class_id[matched.pair_truth], DISTRACTORS[preprocess])
        prediction_kept[matched.pair_prediction[on_distractor]] = False
        truth_kept &= class_id == PEDESTRIAN
    return comparison.with_rows(truth_kept, prediction_kept)
