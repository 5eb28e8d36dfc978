"""A small world for the commands that ask a person: one video whose labels leave something to ask.

FiftyOne is imported where it is used: pytest may load this file before the test database is set up.
"""

from __future__ import annotations

import json
from types import SimpleNamespace

import numpy as np
import pytest

from spam_plugin.plugin import cli

WIDTH, HEIGHT, LENGTH = 640, 480, 40


def boxes_of(number):
    """Ground truth of one object in pixels: frame from 0 -> left, top, width, height."""
    if number == 1:
        return {t: (40 + 6 * t, 100, 60, 90) for t in range(LENGTH)}
    if number == 2:
        return {t: (500 - 6 * t, 280, 40, 120) for t in range(LENGTH)}
    return {t: (300 + 2 * t, 60, 30, 80) for t in range(10, 34)}


def candidates_of(number):
    """What a detector makes of it: the same moved by a pixel or two, with holes, and never the third object's end."""
    rng = np.random.default_rng(number)
    missed = {1: range(15, 24), 2: range(30, 33), 3: range(20, 34)}[number]
    shift = rng.normal(0, 1.5, (LENGTH, 2))
    return {t: (x + shift[t, 0], y + shift[t, 1], w, h) for t, (x, y, w, h) in boxes_of(number).items()
            if t not in missed}  # fmt: skip


NOTHING = {t: (20 + t, 400 - 3 * t, 50, 50) for t in range(5, 12)}  # a detector's dream


@pytest.fixture
def crossing():
    """A dataset with one video: ``candidates``, ``ground_truth``, and ``shifted``, candidates of another detector."""
    import fiftyone as fo

    from spam_plugin.integrations.fiftyone_.raw import declare_detections, detection_dict, write_frame_labels

    dataset = fo.Dataset()
    dataset.media_type = "video"
    metadata = fo.VideoMetadata(total_frame_count=LENGTH, frame_width=WIDTH, frame_height=HEIGHT, frame_rate=10.0)
    sample = fo.Sample(filepath="/nowhere/crossing.mp4", metadata=metadata)
    dataset.add_sample(sample)

    def relative(box, by=0.0):
        return [(box[0] + by) / WIDTH, (box[1] + by) / HEIGHT, box[2] / WIDTH, box[3] / HEIGHT]

    found = [(candidates_of(1), 0.9), (candidates_of(2), 0.8), (candidates_of(3), 0.5), (NOTHING, 0.35)]
    for field, by in (("candidates", 0.0), ("shifted", 3.0)):
        declare_detections(dataset, f"frames.{field}")
        frames = {
            t + 1: [detection_dict("car", relative(own[t], by), confidence=score) for own, score in found if t in own]
            for t in range(LENGTH)
        }
        write_frame_labels(dataset, sample.id, field, frames)
    declare_detections(dataset, "frames.ground_truth")
    frames = {
        t + 1: [detection_dict("car", relative(boxes_of(n)[t]), n) for n in (1, 2, 3) if t in boxes_of(n)]
        for t in range(LENGTH)
    }
    write_frame_labels(dataset, sample.id, "ground_truth", frames)
    yield dataset
    dataset.delete()


@pytest.fixture
def run(capsys):
    """Runs the command line; gives exit code, standard output and standard error."""

    def call(*args):
        with pytest.raises(SystemExit) as stop:
            cli.main(["-q", *map(str, args)])
        told = capsys.readouterr()
        return stop.value.code, told.out, told.err

    return call
