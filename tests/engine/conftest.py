"""What the tests of the engine share: small worlds, and answers about them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest

from spam_plugin.engine.answers import Answer, Box, Verdict
from spam_plugin.engine.choosing import look_at
from spam_plugin.engine.metrics import TruthTable
from spam_plugin.engine.pool import View
from spam_plugin.engine.ports import VideoInput
from spam_plugin.models.columns import Candidates, VideoInfo
from spam_plugin.models.spam import LabelSettings, SpamModel


@dataclass(frozen=True)
class World:
    """Objects that walk to the right, one a row of the image, and what a detector saw of them.

    Attributes:
        info: of the video.
        candidates: of the detector.
        who: (N,) int64, object behind each candidate, or -1.
        truth: all true boxes.
    """

    info: VideoInfo
    candidates: Candidates
    who: np.ndarray
    truth: TruthTable

    def box(self, row: int) -> Box:
        """How an answer names a candidate."""
        return Box(int(self.candidates.frame[row]), tuple(self.candidates.xyxy[row].astype(float).tolist()))

    def row(self, who: int, frame: int) -> int:
        """The candidate of an object in a frame; there must be one."""
        (row,) = np.flatnonzero((self.who == who) & (self.candidates.frame == frame))
        return int(row)

    def say(self, verdict: str, *rows: int, **rest: object) -> Answer:
        """An answer about candidates."""
        return Answer(self.info.name, Verdict(verdict), tuple(self.box(row) for row in rows), **rest)


def make_world(
    seed: int = 0, num_frames: int = 40, objects: int = 3, miss: float = 0.0, false: float = 0.0, classes: int = 1,
    spacing: float = 250.0, noise: float = 1.0,
) -> World:  # fmt: skip
    """Objects of 50 by 120 pixels; ``spacing`` pixels lie between their rows; one in two is of another class of two."""
    rng = np.random.default_rng(seed)
    frame, who = np.divmod(np.arange(num_frames * objects), objects)
    centre = np.stack([100.0 + 4 * frame + 40 * who, 150.0 + spacing * who], 1)
    half = np.array([25.0, 60.0])
    truth = TruthTable(frame, who, np.concatenate([centre - half, centre + half], 1))
    seen = rng.random(len(frame)) >= miss
    frame, who, centre = frame[seen], who[seen], centre[seen] + rng.normal(0, noise, (seen.sum(), 2))
    sides = half * np.exp(rng.normal(0, 0.02 * noise, centre.shape))
    wrong = rng.poisson(false * num_frames)
    frame = np.concatenate([frame, rng.integers(0, num_frames, wrong)])
    who = np.concatenate([who, np.full(wrong, -1)])
    centre = np.concatenate([centre, rng.uniform(50, 900, (wrong, 2))])
    sides = np.concatenate([sides, rng.uniform(10, 90, (wrong, 2))])
    score = np.where(who >= 0, rng.uniform(0.6, 1.0, len(who)), rng.uniform(0, 0.4, len(who)))
    order = np.argsort(frame, kind="stable")
    xyxy = np.concatenate([centre - sides, centre + sides], 1)[order].astype(np.float32)
    candidates = Candidates(
        frame[order].astype(np.int64), xyxy, score[order].astype(np.float32), np.maximum(who[order], 0) % classes
    )
    return World(VideoInfo(f"world-{seed}", num_frames, 1000, 1000, 10.0), candidates, who[order], truth)


@pytest.fixture(scope="session")
def worlds() -> Callable[..., World]:
    """Makes worlds."""
    return make_world


@pytest.fixture
def world() -> World:
    """Three objects that are seen in every frame, without a false box."""
    return make_world()


@pytest.fixture(scope="session")
def look(model: SpamModel) -> Callable[..., View]:
    """Labels a world with some answers, and gives what questions are asked about."""

    def labelled(world: World, answers: tuple[Answer, ...] = ()) -> View:
        video = VideoInput(world.info, world.candidates, "", answers=tuple(answers))
        return look_at(world.info.name, video, model, LabelSettings())[0]

    return labelled
