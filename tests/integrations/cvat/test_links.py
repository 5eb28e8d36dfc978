"""Links to jobs in CVAT, from what is known here: no server is asked."""

from __future__ import annotations

import pytest
from cvat_reviewer.data import straight

from spam_plugin.integrations.cvat.links import job_url, link_of, links_of, was_sent
from spam_plugin.integrations.cvat.sync import sync


@pytest.fixture
def sent(make_dataset, make_link, server):
    """Two videos of which the first has jobs at the server; the server is gone."""
    from spam_plugin.engine.desk.context import SyncSettings

    dataset = make_dataset("links", straight(1, 0, 80), straight(1, 0, 80))
    assert not was_sent(dataset, "spam_tracks")
    settings = SyncSettings(windows="all", job_seconds=3.0, overlap_seconds=1.0)
    sync(make_link(dataset, view=dataset.limit(1)), settings)
    return dataset


def test_the_jobs_of_a_video_come_in_the_order_of_their_frames(sent, server):
    first, second = sent.values("id")
    links = links_of(sent, "spam_tracks", [first])
    jobs = sorted(server.jobs(), key=lambda job: job["start_frame"])
    assert len(links) > 1
    assert [(link.job, *link.frames) for link in links] == [
        (job["id"], job["start_frame"], job["stop_frame"]) for job in jobs
    ]  # fmt: skip
    assert [link.url for link in links] == [job_url(server.url, job["task_id"], job["id"]) for job in jobs]
    assert all(link.is_open and link.video == first and link.name == "video 1" for link in links)
    assert links_of(sent, "spam_tracks", [second]) == []
    assert links_of(sent, "spam_tracks", [second, first]) == links
    assert was_sent(sent, "spam_tracks")
    assert not was_sent(sent, "others")
    assert links_of(sent, "others", [first]) == []


def test_a_frame_is_opened_in_a_job_that_holds_it(sent):
    first, second = sent.values("id")
    links = links_of(sent, "spam_tracks", [first])
    for frame in (0, 25, 89):
        url = link_of(sent, "spam_tracks", first, frame)
        holding = [link for link in links if link.frames[0] <= frame <= link.frames[1]]
        assert url in {f"{link.url}?frame={frame}" for link in holding}
    assert link_of(sent, "spam_tracks", first, 90) is None
    assert link_of(sent, "spam_tracks", second, 0) is None
    assert link_of(sent, "spam_tracks", "0" * 24, 0) is None
    assert link_of(sent, "others", first, 0) is None


def test_of_a_sequence_with_holes_the_place_among_its_images_counts(new_images, make_link, server):
    dataset = new_images(numbers=(1, 2, 5, 9))
    sync(make_link(dataset), _all())
    key = dataset.match({"frame_number": 1}).first().id
    (link,) = links_of(dataset, "spam_tracks", [str(key)])
    assert link.frames == (0, 8)
    assert link_of(dataset, "spam_tracks", str(key), 4) == f"{link.url}?frame=2"
    assert link_of(dataset, "spam_tracks", str(key), 8) == f"{link.url}?frame=3"


def _all():
    from spam_plugin.engine.desk.context import SyncSettings

    return SyncSettings(windows="all")


@pytest.fixture
def new_images(tmp_path):
    """A function that makes a sequence of images with these numbers and a track through all of them."""
    import cv2
    import fiftyone as fo
    import numpy as np

    from spam_plugin.integrations.fiftyone_.fields import declare_tracks
    from spam_plugin.integrations.fiftyone_.raw import detection_dict, write_image_labels

    made = []

    def make(numbers):
        dataset = fo.Dataset()
        made.append(dataset)
        dataset.media_type = "image"
        declare_tracks(dataset, "spam_tracks", owner="spam_tracks")
        for number in numbers:
            path = tmp_path / f"{number}.png"
            cv2.imwrite(str(path), np.zeros((48, 64, 3), np.uint8))
            sample = fo.Sample(str(path), sequence="a", frame_number=number, frame_rate=10.0)
            dataset.add_sample(sample)
            box = detection_dict("car", [0.1, 0.1, 0.3, 0.3], 1, confidence=0.9, source="model", keyframe=True)
            write_image_labels(dataset, "spam_tracks", {sample.id: [box]})
        dataset.reload()
        return dataset

    yield make
    for dataset in made:
        dataset.delete()
