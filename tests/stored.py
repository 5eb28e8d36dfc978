"""What the tests of the round trip's store read back from a dataset, and the patches that they make."""

from dataclasses import replace

from spam_plugin.engine.desk.labels import Put
from spam_plugin.integrations.fiftyone_ import raw


def only(desk):
    """Key of the only video, and its labels."""
    ((key, _),) = desk.videos()
    return key, desk.labels(key)


def stored(dataset, field):
    """0-based frame -> raw boxes, of the only video."""
    if dataset.media_type == "video":
        return {number - 1: boxes for number, boxes in raw.frame_documents(dataset, dataset.first().id, field)}
    numbers = dict(zip(*dataset.values(["id", "frame_number"]), strict=True))
    return {numbers[key] - 1: found for key, found in raw.image_documents(dataset, list(numbers), field)}


def put_for(labels, row, **changes):
    """What leaves one box as it is, with changes."""
    track = int(labels.track[row])
    return replace(
        Put(int(labels.frame[row]), labels.key[row], track, labels.instance[track], labels.label[row]), **changes
    )
