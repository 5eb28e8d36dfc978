"""The smallest MOTChallenge folders, made on the spot."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

GROUND_TRUTH = """\
1,1,2,3,10.5,8,1,1,1
2,1,3,3,10.5,8,1,1,0.75
5,1,-4.25,3,10.5,8,1,1,0.5
1,2,20,10,8,6,0,8,1
2,2,21,10,8,6.125,0,8,0.3
"""
DETECTIONS = """\
1,-1,2.1,3.2,10,8,12.5,-1,-1,-1
1,-1,20.3,10.1,8,6,-0.75,-1,-1,-1
4,-1,30.123,15.5,12,12,0.0625,-1,-1,-1
"""


@pytest.fixture
def make_sequence(tmp_path):
    """Makes a sequence folder of 5 frames, 39x25 pixels, with or without images; both sides are odd."""

    def make(name="walk", images=False, gt=GROUND_TRUTH, det=DETECTIONS, folder="train", suffix=".jpg", **ini):
        root = tmp_path / folder / name
        values = {"name": name, "imDir": "img1", "frameRate": "10", "seqLength": "5", "imWidth": "39", "imHeight": "25"}
        values |= ini
        (root / "det").mkdir(parents=True)
        lines = [f"{key}={value}" for key, value in values.items() if value is not None]
        (root / "seqinfo.ini").write_text("\n".join(["[Sequence]", *lines, ""]))
        (root / "det" / "det.txt").write_text(det)
        if gt is not None:
            (root / "gt").mkdir()
            (root / "gt" / "gt.txt").write_text(gt)
        if images:
            (root / "img1").mkdir()
            for frame in range(1, 6):
                image = np.full((25, 39, 3), 40 * frame, np.uint8)
                image[:, : 4 * frame] = (0, 0, 255)
                assert cv2.imwrite(str(root / "img1" / f"{frame:06d}{suffix}"), image)
        return root

    return make
