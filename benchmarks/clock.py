"""Processor time of labelling on one thread."""

from __future__ import annotations

import time
from collections.abc import Callable

import torch

from spam_plugin.models.columns import Candidates, Tracks, VideoInfo
from spam_plugin.models.spam import LabelSettings, SpamModel


def one_thread() -> None:
    """Let PyTorch compute on one thread; for OpenMP and BLAS set ``OMP_NUM_THREADS=1`` before the start."""
    torch.set_num_threads(1)


def timed_label(
    model: SpamModel, video: VideoInfo, candidates: Candidates, settings: LabelSettings
) -> tuple[float, Tracks]:
    """Seconds of processor time of labelling the columns of one video, and its tracks."""
    begin = time.process_time()
    (tracks,) = model.label([(video, candidates)], settings)
    return time.process_time() - begin, tracks


def processor_seconds(work: Callable[[], object]) -> float:
    """Seconds of processor time that some work takes."""
    begin = time.process_time()
    work()
    return time.process_time() - begin
