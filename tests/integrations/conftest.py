"""The smallest world that labelling into FiftyOne needs: a few videos with candidates, and a model one can foresee.

FiftyOne is imported where it is used: pytest may load this file before the test database is set up.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from spam_plugin.models.columns import Source, Tracks

WIDTH, HEIGHT = 100, 50


@dataclass(frozen=True)
class FakeSettings:
    doubt: float = 0.25


class FakeModel:
    """The n-th box of a frame belongs to the n-th track. Fails at a video of the name ``fail_at``."""

    def __init__(self, version="fake-1", fail_at=None):
        self.version = version
        self.fail_at = fail_at
        self.asked = []
        self.dimensions = None

    def label(self, videos, settings=None):
        return [self._one(info, candidates, settings or FakeSettings()) for info, candidates in videos]

    def _one(self, info, candidates, settings):
        if info.name == self.fail_at:
            raise KeyboardInterrupt
        self.asked.append(info.name)
        if candidates.embedding is not None:
            self.dimensions = candidates.embedding.shape[1]
        frame, count = candidates.frame, len(candidates)
        rank = np.arange(count) - np.searchsorted(frame, frame)
        number = rank.max(initial=-1) + 1
        doubt = np.full(count, settings.doubt, np.float32)
        source = np.where(frame == 2, Source.INTERPOLATED, Source.MODEL).astype(np.uint8)
        return Tracks(
            frame=frame, xyxy=candidates.xyxy, track_index=rank, class_index=candidates.class_index, validity=1 - doubt,
            uncertainty=doubt, link_uncertainty=2 * doubt, source=source, keyframe=frame == 0,
            candidate_index=np.arange(count), track_validity=np.full(number, 0.75, np.float32),
            track_uncertainty=np.full(number, 0.5, np.float32),
        )  # fmt: skip


def box(x, y, w, h, label="car", score=0.9, **more):
    """A raw candidate, given in pixels."""
    from spam_plugin.integrations.fiftyone_.raw import detection_dict

    xywh = [x / WIDTH, y / HEIGHT, w / WIDTH, h / HEIGHT]
    return detection_dict(label, xywh, confidence=score, **more)


def usual_frames():
    """Two boxes that move, in four frames of which the second is empty: 0-based frame -> raw candidates."""
    return {
        frame: [box(10 + frame, 10, 20, 20, "car", 0.9), box(60, 20 + frame, 10, 20, "person", 0.4)]
        for frame in (0, 2, 3)
    }


@pytest.fixture
def new_dataset():
    """A function that makes empty datasets, which are gone after the test."""
    import fiftyone as fo

    made = []

    def make():
        made.append(fo.Dataset())
        return made[-1]

    yield make
    for dataset in made:
        if not dataset.deleted:
            dataset.delete()


@pytest.fixture
def video_dataset(new_dataset):
    """A function that makes a dataset of videos: name -> frames as ``usual_frames`` gives them."""
    import fiftyone as fo

    from spam_plugin.integrations.fiftyone_.raw import declare_detections, write_frame_labels

    def make(**videos):
        dataset = new_dataset()
        dataset.media_type = "video"
        declare_detections(dataset, "frames.candidates")
        for name, frames in videos.items():
            metadata = fo.VideoMetadata(
                total_frame_count=4, frame_width=WIDTH, frame_height=HEIGHT, frame_rate=10.0, duration=0.4
            )
            sample = fo.Sample(filepath=f"/nowhere/{name}.mp4", metadata=metadata)
            dataset.add_sample(sample)
            numbered = {frame + 1: found for frame, found in frames.items()}
            write_frame_labels(dataset, sample.id, "candidates", numbered)
        return dataset

    return make


@pytest.fixture
def image_dataset(new_dataset, tmp_path):
    """A function that makes a dataset of image sequences, shuffled: name -> frames as ``usual_frames`` gives them."""
    import fiftyone as fo

    from spam_plugin.integrations.fiftyone_.raw import declare_detections, write_image_labels

    def make(**sequences):
        dataset = new_dataset()
        dataset.media_type = "image"
        declare_detections(dataset, "candidates")
        cv2.imwrite(str(tmp_path / "grey.png"), np.full((HEIGHT, WIDTH, 3), 128, np.uint8))
        for frame in (3, 0, 2, 1):
            for name, frames in sequences.items():
                sample = fo.Sample(
                    filepath=str(tmp_path / "grey.png"), sequence=name, frame_number=frame + 1, frame_rate=10.0
                )
                dataset.add_sample(sample)
                write_image_labels(dataset, "candidates", {sample.id: frames.get(frame, [])})
        return dataset

    return make


@pytest.fixture
def world():
    """What tests need by name, since they cannot import this file."""
    return SimpleNamespace(
        Model=FakeModel, Settings=FakeSettings, box=box, frames=usual_frames, width=WIDTH, height=HEIGHT, file=__file__
    )


@pytest.fixture
def labelled(video_dataset, world):
    """A labelled video: a car and a person in frames 1, 3 and 4 of 4, of which the third is interpolated."""
    from spam_plugin.integrations.fiftyone_ import api

    dataset = video_dataset(a=world.frames())
    api.label(dataset, model=world.Model(), progress=False)
    return dataset


@pytest.fixture
def labelled_images(image_dataset, world):
    """The same as images."""
    from spam_plugin.integrations.fiftyone_ import api

    dataset = image_dataset(a=world.frames())
    api.label(dataset, model=world.Model(), progress=False)
    return dataset


@pytest.fixture
def own_tracks(video_dataset, image_dataset):
    """A function that makes a dataset with a user's own field of tracks: 0-based frame -> raw boxes."""
    from spam_plugin.integrations.fiftyone_ import raw

    def make(frames, images=False, **attributes):
        dataset = (image_dataset if images else video_dataset)(a={})
        path = "mine" if images else "frames.mine"
        raw.declare_detections(dataset, path, {name: (kind, None) for name, kind in attributes.items()})
        if images:
            ids = dict(zip(*dataset.values(["frame_number", "id"]), strict=True))
            raw.write_image_labels(dataset, "mine", {ids[frame + 1]: found for frame, found in frames.items()})
        else:
            raw.write_frame_labels(
                dataset, dataset.first().id, "mine", {frame + 1: found for frame, found in frames.items()}
            )
        return dataset

    return make
