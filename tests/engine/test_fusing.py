"""Boxes of two detectors as one set, by what labels say."""

from __future__ import annotations

import numpy as np
import pytest

from spam_plugin.engine.fusing import KnownBoxes, fuse_candidates
from spam_plugin.models.columns import Candidates

FRAMES = 60


def detections(rng: np.random.Generator, scale: float, hits: float = 0.9, false: float = 1.0) -> Candidates:
    """One object that walks, found at times, and false boxes of lower scores; scores on a scale of their own."""
    seen = rng.random(FRAMES) < hits
    frame = np.flatnonzero(seen)
    wrong = rng.integers(0, FRAMES, int(false * FRAMES))
    left = np.concatenate([frame * 3.0 + rng.normal(0, 2, len(frame)), rng.uniform(300, 900, len(wrong))])
    score = np.concatenate([rng.uniform(0.5, 1, len(frame)), rng.uniform(0, 0.6, len(wrong))]) * scale
    frame = np.concatenate([frame, wrong])
    order = np.argsort(frame, kind="stable")
    xyxy = np.stack([left, np.full(len(left), 50.0), left + 30, np.full(len(left), 130.0)], 1)[order]
    return Candidates(frame[order], xyxy.astype(np.float32), score[order].astype(np.float32), np.zeros(len(order), int))


def known(told: int = FRAMES, spoken: tuple[int, ...] = (), of: Candidates | None = None) -> KnownBoxes:
    """Labels that follow the object."""
    frame = np.arange(FRAMES)
    xyxy = np.stack([frame * 3.0, np.full(FRAMES, 50.0), frame * 3.0 + 30, np.full(FRAMES, 130.0)], 1)
    rows = np.array(spoken, int)
    place = (of.frame[rows], of.xyxy[rows]) if of is not None else (np.zeros(0, int), np.zeros((0, 4)))
    return KnownBoxes(frame, xyxy, np.ones(FRAMES, bool), np.arange(FRAMES) < told, *place)


@pytest.fixture
def both() -> tuple[Candidates, Candidates]:
    rng = np.random.default_rng(0)
    return detections(rng, 1.0), detections(rng, 100.0)


def test_scores_of_any_scale_become_probabilities_that_rank_objects_first(both):
    found = fuse_candidates(*both, known()).candidates
    object_ = found.xyxy[:, 0] < 280
    assert found.score[object_].min() > np.median(found.score[~object_])
    assert found.score.max() <= 1


def test_two_detectors_find_more_than_either_and_place_it_better(both):
    found = fuse_candidates(*both, known())
    seen = [np.unique(boxes.frame[boxes.xyxy[:, 0] < 280]) for boxes in (*both, found.candidates)]
    assert len(seen[2]) > max(len(seen[0]), len(seen[1]))
    pair = (found.first >= 0) & (found.second >= 0) & (found.candidates.xyxy[:, 0] < 280)
    frame = found.candidates.frame[pair]

    def error(left: np.ndarray) -> float:
        return float(np.abs(left - 3.0 * frame).mean())

    fused = error(found.candidates.xyxy[pair, 0])
    assert fused < error(both[0].xyxy[found.first[pair], 0])
    assert fused < error(both[1].xyxy[found.second[pair], 0])


def test_boxes_that_people_spoke_of_keep_their_places(both):
    spoken = tuple(np.flatnonzero(both[0].xyxy[:, 0] < 280)[:5].tolist())
    found = fuse_candidates(*both, known(spoken=spoken, of=both[0]))
    for row in spoken:
        (place,) = np.flatnonzero(found.first == row)
        assert np.array_equal(found.candidates.xyxy[place], both[0].xyxy[row])


def test_frames_that_are_held_out_do_not_shape_the_scores(both):
    honest = known(told=30)
    lie = KnownBoxes(
        honest.frame, np.where(honest.frame[:, None] < 30, honest.xyxy, honest.xyxy + 500), honest.sure, honest.told,
        honest.spoken_frame, honest.spoken_xyxy,
    )  # fmt: skip
    one, two = fuse_candidates(*both, honest).candidates, fuse_candidates(*both, lie).candidates
    assert np.array_equal(one.score, two.score)
