"""The context of a box is its video's own affair, and does not hang on the detector's scale."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch

from spam_plugin.models.columns import Candidates, VideoInfo
from spam_plugin.models.spam.columns import gather_boxes
from spam_plugin.models.spam.context import NAMES, describe
from spam_plugin.models.spam.hierarchy import WINDOWS

Video = tuple[VideoInfo, Candidates]


@pytest.fixture(scope="module")
def videos(walkers: Callable) -> list[Video]:
    """Three videos; the second has two classes."""
    made = [walkers(seed, num_frames=frames)[:2] for seed, frames in [(1, 40), (2, 25), (3, 700)]]
    two = made[1][1]
    made[1] = (made[1][0], replace(two, class_index=np.arange(len(two)) % 2))
    return made


def context_of(videos: list[Video]) -> list[torch.Tensor]:
    """The context of every video's candidates, in the candidates' own order."""
    boxes = gather_boxes(videos, WINDOWS[-1], torch.device("cpu"))
    context, _ = describe(boxes)
    assert context.shape == (len(boxes), len(NAMES))
    out = []
    for index in range(len(videos)):
        mine = boxes.lane_video[boxes.lane] == index
        out.append(context[mine][boxes.row[mine].argsort()])
    return out


def test_the_order_of_videos_does_not_matter(videos: list[Video]) -> None:
    order = [2, 0, 1]
    one, two = context_of(videos), context_of([videos[n] for n in order])
    for place, index in enumerate(order):
        torch.testing.assert_close(two[place], one[index], atol=1e-4, rtol=0)


def test_company_does_not_change_a_video(videos: list[Video]) -> None:
    together = context_of(videos)
    for index, video in enumerate(videos):
        torch.testing.assert_close(context_of([video])[0], together[index], atol=1e-4, rtol=0)


@pytest.mark.parametrize(("factor", "offset"), [(100.0, -7.0), (2.0**-20, 0.0), (1.0, 3.0)])
def test_a_detector_that_counts_in_other_units_changes_nothing(
    videos: list[Video], factor: float, offset: float
) -> None:
    other = [
        (info, replace(given, score=given.score * np.float32(factor) + np.float32(offset))) for info, given in videos
    ]
    for one, two in zip(context_of(videos), context_of(other), strict=True):
        torch.testing.assert_close(one, two, atol=1e-6, rtol=0)


def test_every_number_is_finite_even_for_a_lone_box_and_for_no_box() -> None:
    info = VideoInfo("lone", 1, 100, 100, 25)
    lone = Candidates(
        np.zeros(1, np.int64), np.array([[1, 1, 9, 9]], np.float32), np.ones(1, np.float32), np.zeros(1, np.int64)
    )
    assert context_of([(info, lone)])[0].isfinite().all()
    assert context_of([(info, Candidates.empty())])[0].shape == (0, len(NAMES))


def test_true_boxes_have_more_support_than_false_ones(walkers: Callable) -> None:
    info, given, who = walkers(5, false=1.0)
    support = context_of([(info, given)])[0][:, NAMES.index("support")].numpy()
    assert support[who >= 0].mean() > support[who < 0].mean() + 0.3


def test_equal_scores_have_one_rank_whenever_they_come():
    frames = np.arange(40)
    boxes = np.tile([100, 100, 150, 200.0], (40, 1)).astype("f4")
    columns = gather_boxes(
        [(VideoInfo("v", 40, 640, 480, 25.0), Candidates(frames, boxes, np.full(40, 0.7, "f4"), np.zeros(40, "i8")))],
        512,
        torch.device("cpu"),
    )
    rank = describe(columns)[0][:, NAMES.index("rank")]
    assert torch.allclose(rank, torch.zeros(40), atol=1e-6)
