"""Names and types of the fields that an imported sequence has in FiftyOne."""

from __future__ import annotations

from typing import Any

import fiftyone as fo

from ..fiftyone_.raw import declare_detections
from .sequence import Sequence

SEQUENCE = "sequence"
FRAME_NUMBER = "frame_number"
LENGTH = "seq_length"
COMPLETE = "mot_complete"
FOLDER = "mot_folder"
DETECTIONS = "mot_detections"

GROUND_TRUTH = "ground_truth"
CANDIDATES = "candidates"
SEQUENCES_VIEW = "sequences"

_SAMPLE_FIELDS: dict[str, tuple[type[fo.Field], str]] = {
    SEQUENCE: (fo.StringField, "Name of the MOTChallenge sequence"),
    "split": (fo.StringField, "Folder that held the sequence, such as train"),
    "frame_rate": (fo.FloatField, "Frames per second"),
    "image_width": (fo.IntField, "Width of the original images in pixels; the video may have one more, to be even"),
    "image_height": (fo.IntField, "Height of the original images in pixels; the video may have one more, to be even"),
    LENGTH: (fo.IntField, "Length of the sequence in frames"),
    FOLDER: (fo.StringField, "Folder from which the sequence was imported"),
    DETECTIONS: (fo.StringField, "File of detections that became the candidates"),
    COMPLETE: (fo.BooleanField, "Whether all of the sequence has been imported"),
}
_CLASS_ID: dict[str, tuple[type[fo.Field], str]] = {"class_id": (fo.IntField, "MOTChallenge's number of the class")}
_TRUTH_ATTRIBUTES: dict[str, tuple[type[fo.Field], str]] = {
    **_CLASS_ID,
    "visibility": (fo.FloatField, "Share of the object that can be seen, in [0, 1]"),
    "ignored": (fo.BooleanField, "Whether MOTChallenge's flag says that the box does not count"),
}


def declare(dataset: fo.Dataset, media: str) -> None:
    """Declares all fields in the schema, so that the App's sidebar filters them, and the view ``sequences`` of images.

    Args:
        dataset: the dataset; what it has declared already stays as it is.
        media: "video" or "images".
    """
    if dataset.media_type is None:
        dataset.media_type = "video" if media == "video" else "image"
    for name, (kind, meaning) in _SAMPLE_FIELDS.items():
        if dataset.get_field(name) is None:
            dataset.add_sample_field(name, kind, description=meaning)
    prefix = "frames." if media == "video" else ""
    declare_detections(dataset, prefix + GROUND_TRUTH, _TRUTH_ATTRIBUTES, "Ground truth of MOTChallenge")
    declare_detections(dataset, prefix + CANDIDATES, _CLASS_ID, "Boxes of a detector, with its raw scores")
    if media == "images":
        if dataset.get_field(FRAME_NUMBER) is None:
            dataset.add_sample_field(FRAME_NUMBER, fo.IntField, description="Position in the sequence, from 1")
        dataset.create_index([(SEQUENCE, 1), (FRAME_NUMBER, 1)])
        if not dataset.has_saved_view(SEQUENCES_VIEW):
            dataset.save_view(SEQUENCES_VIEW, dataset.group_by(SEQUENCE, order_by=FRAME_NUMBER))


def values_of(sequence: Sequence, detections: str) -> dict[str, Any]:
    """Values of the sample fields of a sequence that is not yet complete."""
    width, height = sequence.size
    return {
        SEQUENCE: sequence.name,
        "split": sequence.split,
        "frame_rate": float(sequence.info.frame_rate),
        "image_width": width,
        "image_height": height,
        LENGTH: sequence.info.num_frames,
        FOLDER: str(sequence.folder),
        DETECTIONS: detections,
        COMPLETE: False,
    }
