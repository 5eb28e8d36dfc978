import subprocess

import cv2
import fiftyone as fo
import numpy as np
import pytest

from spam_plugin.integrations.fiftyone_.api import embed, label
from spam_plugin.models.appearance.colour import DIMENSIONS
from spam_plugin.models.errors import InputError, MissingError

QUIET = {"progress": False}
RED, BLUE = (0, 0, 220), (220, 0, 0)


def painted(frame):
    """A grey image with a red and a blue thing where ``usual_frames`` has its boxes."""
    image = np.full((50, 100, 3), 128, np.uint8)
    image[10:30, 10 + frame : 30 + frame] = RED
    image[20 + frame : 40 + frame, 60:70] = BLUE
    return image


@pytest.fixture
def painted_video(video_dataset, world, tmp_path):
    dataset = video_dataset(a=world.frames())
    for frame in range(4):
        cv2.imwrite(str(tmp_path / f"{frame}.png"), painted(frame))
    path = tmp_path / "a.mp4"
    command = [
        "ffmpeg",
        "-v",
        "error",
        "-i",
        str(tmp_path / "%d.png"),
        "-c:v",
        "libx264",
        "-pix_fmt",
        "yuv420p",
        str(path),
    ]
    subprocess.run(command, check=True)
    sample = dataset.first()
    sample.filepath = str(path)
    sample.save()
    return dataset


def test_every_candidate_gets_the_colours_of_its_place(painted_video):
    report = embed(painted_video, **QUIET)
    assert report.boxes == {"a": 6}
    found = np.array(painted_video.values("frames.candidates.detections.embedding", unwind=True)[:6], float)
    assert found.shape == (6, DIMENSIONS)
    alike = found @ found.T
    assert alike[::2, ::2].min() > 0.8 > alike[::2, 1::2].max()
    assert painted_video.get_field("frames.candidates.detections.embedding").description


def test_vectors_reach_the_model_and_nothing_else_of_a_candidate_changes(painted_video, world):
    before = painted_video.values(["frames.candidates.detections.id", "frames.candidates.detections.bounding_box"])
    embed(painted_video, **QUIET)
    embed(painted_video, **QUIET)
    model = world.Model()
    label(painted_video, embeddings="embedding", model=model, **QUIET)
    assert model.dimensions == DIMENSIONS
    assert before == painted_video.values(
        ["frames.candidates.detections.id", "frames.candidates.detections.bounding_box"]
    )


def test_images_of_a_sequence_are_described_too(image_dataset, world, tmp_path):
    dataset = image_dataset(a=world.frames())
    for sample in dataset:
        sample.filepath = str(tmp_path / f"frame{sample.frame_number}.png")
        cv2.imwrite(sample.filepath, painted(sample.frame_number - 1))
        sample.save()
    assert embed(dataset.group_by("sequence", order_by="frame_number"), **QUIET).boxes == {"a": 6}
    red, blue = (np.array(d.embedding) for d in dataset.match({"frame_number": 1}).first().candidates.detections)
    assert red @ blue < 0.7


def test_a_video_that_ends_too_early_is_named_or_skipped(painted_video, world, tmp_path):
    sample = painted_video.first()
    sample.frames[9] = fo.Frame(candidates=fo.Detections(detections=[fo.Detection.from_dict(world.box(1, 1, 5, 5))]))
    sample.save()
    with pytest.raises(InputError, match=r"'a'.*frame 5.*cannot be decoded"):
        embed(painted_video, **QUIET)
    assert list(embed(painted_video, skip_bad=True, **QUIET).skipped) == ["a"]


def test_a_box_without_a_place_is_named_or_left_out(painted_video):
    sample = painted_video.first()
    sample.frames[3].candidates.detections[1].bounding_box = [0.1, 0.1, 0, 0.2]
    sample.save()
    with pytest.raises(InputError, match=r"frame 3, .*no area"):
        embed(painted_video, **QUIET)
    report = embed(painted_video, skip_bad=True, **QUIET)
    assert (report.boxes, sum(report.left_out.values())) == ({"a": 5}, 1)


def test_attributes_that_mean_something_else_are_not_overwritten(painted_video):
    for name in ("label", "two words"):
        with pytest.raises(InputError, match="cannot hold the vectors"):
            embed(painted_video, out=name, **QUIET)
    with pytest.raises(MissingError, match="no field"):
        embed(painted_video, "boxes", **QUIET)
