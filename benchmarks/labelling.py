"""Our model as the benchmarks call it: weights and settings from the command line, colours where images exist."""

from __future__ import annotations

import argparse
import ast
from dataclasses import dataclass, fields, replace

import cv2
import numpy as np
from numpy.typing import NDArray
from sequences import Sequence

from spam_plugin.engine.metrics import TrackTable
from spam_plugin.models.appearance.colour import describe
from spam_plugin.models.columns import Candidates, Tracks, VideoInfo
from spam_plugin.models.errors import InputError
from spam_plugin.models.spam import LabelSettings, SpamModel
from spam_plugin.models.spam.beliefs import link_probability


def add_model_options(parser: argparse.ArgumentParser) -> None:
    """Which weights, and which settings other than the defaults."""
    parser.add_argument("--weights", metavar="FILE", help="other weights than those that ship")
    parser.add_argument(
        "--settings",
        nargs="+",
        default=[],
        metavar="KEY=VALUE",
        help=f"of: {', '.join(_known())} (default: all as shipped)",
    )


def load_model(args: argparse.Namespace) -> SpamModel:
    """The model with the chosen weights."""
    return SpamModel.load(args.weights)


def chosen_settings(pairs: list[str]) -> LabelSettings:
    """Settings from ``key=value`` words; values are Python literals.

    Raises:
        InputError: for a key that is no setting, or a value that is no literal.
    """
    changes = {}
    for pair in pairs:
        key, _, text = pair.partition("=")
        if key not in _known():
            raise InputError(f"there is no setting {key!r}; there are {', '.join(_known())}")
        try:
            changes[key] = ast.literal_eval(text)
        except (SyntaxError, ValueError):
            raise InputError(f"setting {key}: {text!r} is no number, True, False or None") from None
    return replace(LabelSettings(), **changes)


def _known() -> list[str]:
    return [field.name for field in fields(LabelSettings)]


def with_colours(sequence: Sequence, candidates: Candidates) -> Candidates:
    """The candidates with colour descriptors as embeddings where the sequence has images, else as they are.

    Raises:
        InputError: when the images are fewer than the frames or one cannot be read.
    """
    images = sequence.images
    if not images:
        return candidates
    if len(images) < sequence.video.num_frames:
        raise InputError(f"{sequence.path / 'img1'}: {len(images)} images, expected {sequence.video.num_frames}")
    parts = []
    for frame in np.unique(candidates.frame):
        image = cv2.imread(str(images[frame]))
        if image is None:
            raise InputError(f"{images[frame]}: no image that can be read")
        rows = slice(*np.searchsorted(candidates.frame, [frame, frame + 1]))
        parts.append(describe(image, candidates.xyxy[rows]))
    return replace(candidates, embedding=np.concatenate(parts)) if parts else candidates


@dataclass(frozen=True)
class MadeLinks:
    """Links that the model made between candidates, before it dropped any.

    Attributes:
        following: (N,) int64, row of the candidate that follows each candidate in its track, or -1.
        probability: (N,) float64, calibrated probability of that link; NaN without one.
    """

    following: NDArray[np.int64]
    probability: NDArray[np.float64]


def made_links(model: SpamModel, video: VideoInfo, candidates: Candidates, settings: LabelSettings) -> MadeLinks:
    """Each link's own probability, which tracks only tell as the greatest entropy at a box."""
    boxes, chains = model.chains([(video, candidates)], settings)
    row, node, level, logit = (
        column.cpu().numpy() for column in (boxes.row, chains.node, chains.link_level, chains.link_next)
    )
    order = np.lexsort((candidates.frame[row], node))
    first, second = order[:-1], order[1:]
    linked = (node[first] == node[second]) & (node[first] >= 0) & (level[first] >= 0)
    first, second = first[linked], second[linked]
    following, probability = np.full(len(candidates), -1), np.full(len(candidates), np.nan)
    following[row[first]] = row[second]
    probability[row[first]] = link_probability(logit[first], level[first], model.decisions)
    return MadeLinks(following, probability)


def as_table(tracks: Tracks) -> TrackTable:
    """What the metrics read."""
    return TrackTable(tracks.frame, tracks.track_index, tracks.xyxy)
