"""Rendered sequence folders: readable by the importer, made once, and never made over somebody's data."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest

from spam_plugin.integrations.mot.classes import CLASS_NAMES
from spam_plugin.integrations.mot.rendered import STAMP_FILE, Recording, write_rendered
from spam_plugin.integrations.mot.sequence import open_sequence
from spam_plugin.models.errors import InputError
from spam_plugin.models.synthetic.render import RenderSettings

ROAD = Recording(RenderSettings("road", 4, 128, 96, 10.0, scene="road", num_objects=8))


def test_a_rendered_folder_is_a_sequence_with_images_truth_and_candidates(tmp_path):
    (folder,) = write_rendered([ROAD], tmp_path)
    sequence = open_sequence(folder)
    assert sequence.info == ROAD.video.info
    assert len(sequence.images) == 4
    sequence.check_images(decode=True)
    truth, candidates = sequence.ground_truth(), sequence.detections()
    assert truth is not None
    assert candidates is not None
    assert {CLASS_NAMES[number] for number in truth.class_id} == {"car"}
    assert {CLASS_NAMES[number] for number in candidates.class_id} <= {"car"}
    assert (truth.track_id >= 1).all()
    assert (truth.confidence == 1).all()
    assert truth.visibility.min() < 1


def test_rendering_again_keeps_what_is_there_and_another_seed_makes_it_anew(tmp_path):
    (folder,) = write_rendered([ROAD], tmp_path)
    first = (folder / "img1" / "000001.jpg").stat().st_mtime_ns
    assert write_rendered([ROAD], tmp_path) == [folder]
    assert (folder / "img1" / "000001.jpg").stat().st_mtime_ns == first
    before = cv2.imread(str(folder / "img1" / "000001.jpg"))
    write_rendered([replace(ROAD, seed=1)], tmp_path)
    assert np.abs(before.astype(int) - cv2.imread(str(folder / "img1" / "000001.jpg"))).mean() > 1


def test_an_interrupted_rendering_is_made_anew(tmp_path):
    (folder,) = write_rendered([ROAD], tmp_path)
    (folder / STAMP_FILE).unlink()
    (folder / "img1" / "000004.jpg").unlink()
    write_rendered([ROAD], tmp_path)
    assert len(open_sequence(folder).images) == 4


def test_a_folder_of_somebody_else_is_refused_and_left_alone(tmp_path):
    (tmp_path / "road").mkdir()
    (tmp_path / "road" / "thesis.txt").write_text("mine")
    with pytest.raises(InputError, match="choose another --out"):
        write_rendered([ROAD], tmp_path)
    assert (tmp_path / "road" / "thesis.txt").read_text() == "mine"


def test_progress_counts_every_frame(tmp_path):
    seen = []
    write_rendered([ROAD], tmp_path, lambda *row: seen.append(row))
    assert seen == [("road", number, 4) for number in range(1, 5)]
