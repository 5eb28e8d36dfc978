"""Whatever people say: the labels keep to it, they are tracks, and labelling again and again gives the same as at once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import fields

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spam_plugin.engine.answers import Answer, Box, Verdict
from spam_plugin.engine.resolve import Resolution, resolve
from spam_plugin.models.columns import Candidates, Source, Tracks, VideoInfo
from spam_plugin.models.spam import LabelSettings, SpamModel
from spam_plugin.models.spam.constraints import EVER, Constraints

CLASSES = ("person", "car")
NAMES = ("", "", "", "new one", "new two")


@st.composite
def answers_about(draw: st.DrawFn, world, count: int = 14) -> list[Answer]:
    """Answers that make sense or not: about one object or any boxes, near candidates or in the void."""
    number = len(world.candidates)
    own = [np.flatnonzero(world.who == who).tolist() for who in range(world.who.max() + 1)]
    rows = st.one_of(
        st.sampled_from(own).flatmap(lambda part: st.lists(st.sampled_from(part), min_size=1, max_size=5)),
        st.lists(st.integers(0, number - 1), min_size=1, max_size=4),
    )

    def box(row: int, shift: float) -> Box:
        corner = world.candidates.xyxy[row].astype(float) + shift
        return Box(int(world.candidates.frame[row]), tuple(corner.tolist()))

    out = []
    for _ in range(draw(st.integers(0, count))):
        verdict = draw(st.sampled_from(list(Verdict)))
        chosen = draw(rows)
        if verdict in (Verdict.SAME, Verdict.DIFFERENT) and len(chosen) < 2:
            chosen = [*chosen, draw(st.integers(0, number - 1))]
        boxes = tuple(box(row, draw(st.sampled_from([0.0, 0.0, 0.0, 0.0, 7.0, 400.0]))) for row in chosen)
        name = draw(st.sampled_from(NAMES))
        if verdict in (Verdict.STARTS, Verdict.ENDS, Verdict.ABSENT) and draw(st.booleans()):
            boxes = (*boxes[:1], Box(draw(st.integers(0, world.info.num_frames - 1)), boxes[0].xyxy))
        drawn = None
        if verdict is Verdict.BOX:
            drawn = box(draw(rows)[0], draw(st.sampled_from([0.0, 3.0, 60.0])))
            boxes = () if name and draw(st.booleans()) else boxes[:1]
        label = draw(st.sampled_from([*CLASSES, "dog"])) if verdict is Verdict.CLASS else None
        out.append(
            Answer(world.info.name, verdict, boxes, drawn, name, label, source=draw(st.sampled_from(["a", "b"])),
                   when=float(draw(st.integers(0, 3))))
        )  # fmt: skip
    return out


def told(world, answers: list[Answer]) -> Resolution:
    return resolve(answers, world.info, world.candidates, CLASSES)


def assert_tracks(info: VideoInfo, candidates: Candidates, tracks: Tracks) -> None:
    """What labels must be, whatever was said."""
    key = tracks.frame * (tracks.num_tracks + 1) + tracks.track_index
    assert (np.diff(key) > 0).all(), "sorted by frame and track, one box per track and frame"
    numbers, first = np.unique(tracks.track_index, return_index=True)
    assert numbers.tolist() == list(range(tracks.num_tracks))
    assert (np.diff(tracks.frame[first]) >= 0).all(), "numbered in the order of the tracks' first frames"
    assert ((tracks.frame >= 0) & (tracks.frame < info.num_frames)).all()
    assert np.isfinite(tracks.xyxy).all()
    assert (tracks.xyxy[:, 2:] > tracks.xyxy[:, :2]).all()
    for name in ("validity", "uncertainty", "link_uncertainty", "track_validity", "track_uncertainty"):
        share = getattr(tracks, name)
        assert ((share >= 0) & (share <= 1)).all(), name
    filled = tracks.source == Source.INTERPOLATED
    assert (tracks.candidate_index[filled] == -1).all()
    row = tracks.candidate_index[tracks.candidate_index >= 0]
    assert len(np.unique(row)) == len(row), "no candidate is used twice"
    np.testing.assert_array_equal(candidates.frame[row], tracks.frame[tracks.candidate_index >= 0])
    last = np.zeros(tracks.num_tracks, np.int64)
    np.maximum.at(last, tracks.track_index, tracks.frame)
    inner = (tracks.frame > tracks.frame[first][tracks.track_index]) & (tracks.frame < last[tracks.track_index])
    assert inner[filled].all(), "filled boxes lie between two others of their track"
    classes = np.unique(np.stack([tracks.track_index, tracks.class_index], 1), axis=0)
    assert len(classes) == tracks.num_tracks, "no track mixes classes"


def assert_honoured(said: Constraints, tracks: Tracks) -> None:
    """The labels keep to everything that was said."""
    number = said.num_candidates
    place = np.full(number + len(said.frame), -1)
    own = tracks.candidate_index >= 0
    place[tracks.candidate_index[own]] = tracks.track_index[own]
    assert (place[:number][said.verdict < 0] == -1).all(), "a candidate that is no object is in no track"
    assert (place[:number][said.verdict > 0] >= 0).all(), "a candidate that is an object is in a track"

    human = tracks.source == Source.HUMAN
    drawn = Counter((int(f), tuple(b)) for f, b in zip(said.frame, said.xyxy.tolist(), strict=True))
    shown = Counter(
        (int(f), tuple(b)) for f, b in zip(tracks.frame[human], tracks.xyxy[human].tolist(), strict=True)
    )
    assert shown == drawn, "drawn boxes, and only they, are a person's"
    for n, (frame, box) in enumerate(zip(said.frame, said.xyxy, strict=True)):
        at = human & (tracks.frame == frame) & (tracks.xyxy == box).all(1)
        if at.sum() == 1:
            place[number + n] = tracks.track_index[at][0]

    unclear = np.array([drawn[int(f), tuple(b)] > 1 for f, b in zip(said.frame, said.xyxy.tolist(), strict=True)])
    known = np.concatenate([np.ones(number, bool), ~unclear.astype(bool)])
    for index in range(said.object_index.max(initial=-1) + 1):
        of = place[(said.object_index == index) & known]
        assert (of >= 0).all(), "all boxes of an object are there"
        assert len(np.unique(of)) <= 1, "all boxes of an object are in one track"
    one, two = place[said.apart[:, 0]], place[said.apart[:, 1]]
    assert not ((one == two) & (one >= 0)).any(), "objects that are apart are in different tracks"

    for index in range(said.object_index.max(initial=-1) + 1):
        rows = np.flatnonzero((said.object_index == index) & known)
        if len(rows):
            frames = tracks.frame[tracks.track_index == place[rows[0]]]
            spans = np.unique(np.stack([said.earliest[rows], said.latest[rows]], 1), axis=0)
            inside = ((frames[:, None] >= spans[:, 0]) & (frames[:, None] <= spans[:, 1])).any(1)
            assert inside.all(), f"no box beyond where object {index} starts and ends"
    for row, frame in said.absent.tolist():
        if known[row]:
            there = (tracks.track_index == place[row]) & (tracks.frame == frame)
            assert not there.any(), "no box where the object is not to be seen"


def assert_equal_tracks(one: Tracks, two: Tracks) -> None:
    for column in fields(Tracks):
        np.testing.assert_array_equal(getattr(one, column.name), getattr(two, column.name), column.name)


SETTINGS = st.sampled_from(
    [LabelSettings(), LabelSettings(smooth=False), LabelSettings(interpolate=False), LabelSettings(consensus=False),
     LabelSettings(node_classification=False, min_boxes=1), LabelSettings(min_boxes=4)]
)  # fmt: skip


@settings(max_examples=60)
@given(data=st.data(), seed=st.integers(0, 3), classes=st.sampled_from([1, 1, 2]), wish=SETTINGS)
def test_labels_are_tracks_and_keep_to_whatever_was_said(
    model: SpamModel, worlds: Callable, data: st.DataObject, seed: int, classes: int, wish: LabelSettings
) -> None:
    spacing = [250.0, 90.0, 40.0, 15.0][seed]
    world = worlds(seed, num_frames=24, miss=0.2, false=1.0, classes=classes, spacing=spacing)
    said = told(world, data.draw(answers_about(world))).constraints
    (tracks,) = model.label([(world.info, world.candidates)], wish, [said])
    assert_tracks(world.info, world.candidates, tracks)
    assert_honoured(said, tracks)
