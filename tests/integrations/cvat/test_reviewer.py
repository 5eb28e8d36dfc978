"""Whatever a reviewer does in CVAT, in however many jobs, is in the dataset afterwards, and nothing else is."""

from __future__ import annotations

import random

import numpy as np
import pytest
from cvat_reviewer import EDITS, Api, Reviewer, World
from cvat_reviewer.data import read_tracks

from spam_plugin.engine.desk.context import SyncSettings
from spam_plugin.integrations.cvat.sync import sync

EVERYTHING = SyncSettings(windows="all", job_seconds=3, overlap_seconds=0)
FRAMES, CLASSES = 90, ("car", "person")


def random_tracks(seed: int, count: int = 8) -> list:
    """Tracks that move jerkily, with gaps, apart from each other."""
    rng = np.random.default_rng(seed)
    rows = []
    for number in range(1, count + 1):
        first, last = sorted(rng.integers(0, FRAMES, 2).tolist())
        gone = set(range(*sorted(rng.integers(0, FRAMES, 2).tolist()))) if rng.random() < 0.3 else set()
        x, y = rng.uniform(0, 60), 100.0 * number
        for frame in range(first, last + 1):
            x, y = x + rng.normal(1, 1.5), y + rng.normal(0, 0.5)
            if frame not in gone:
                box = (x, y, x + 40 + rng.normal(), y + 50 + rng.normal())
                rows.append((frame, number, CLASSES[number % 2], box))
    return rows


class Desk:
    """The reviewers of all jobs of a dataset, and what they mean."""

    def __init__(self, server, dataset, rng: random.Random) -> None:
        self.api, self.rng = Api(server.url, server.username, server.password), rng
        self.worlds, self.reviewers = {}, []
        tasks = sorted({job["task_id"] for job in self.api.jobs()})
        for sample, task in zip(dataset.values("id"), tasks, strict=True):
            boxes = [
                (b["frame"], str(b["instance"]["_id"]), b["label"], b["xyxy"]) for b in read_tracks(dataset, sample)
            ]
            world = self.worlds[sample] = World.of(boxes)
            for job in self.api.jobs(task):
                self.reviewers.append(self._reviewer(job, world))

    def _reviewer(self, job, world) -> Reviewer:
        labels = self.api.send("GET", f"/api/labels?job_id={job['id']}&page_size=100")["results"]
        uids = {a["id"] for label in labels for a in label["attributes"] if a["name"] == "track_uid"}
        return Reviewer(self.api, job, world, {label["id"]: label["name"] for label in labels}, uids, self.rng)

    def work(self, edits: int, kinds=EDITS) -> dict[str, int]:
        """Does so many edits, in any job, and finishes all jobs."""
        done = 0
        while done < edits:
            done += self.rng.choice(self.reviewers).edit(self.rng.choice(kinds))
        for job in self.api.jobs():
            self.api.job(job["id"], state="completed")
        out: dict[str, int] = {}
        for reviewer in self.reviewers:
            for kind, count in reviewer.done.items():
                out[kind] = out.get(kind, 0) + count
        return out

    def differences(self, dataset) -> list[str]:
        out = []
        for sample, world in self.worlds.items():
            found = [(b["frame"], b["index"], b["label"], b["xyxy"]) for b in read_tracks(dataset, sample)]
            out += world.differences(found)
        return out


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_after_200_edits_of_every_kind_the_dataset_is_what_the_reviewer_meant(server, make_dataset, make_link, seed):
    dataset = make_dataset("reviewed", random_tracks(seed), random_tracks(seed + 100), frames=FRAMES)
    link = make_link(dataset)
    before = {b["_id"]: b for sample in dataset.values("id") for b in read_tracks(dataset, sample)}
    sync(link, EVERYTHING)
    desk = Desk(server, dataset, random.Random(seed))
    done = desk.work(200)
    assert set(done) == set(EDITS)
    report = sync(link, EVERYTHING)
    assert report.problems == []
    assert report.conflicts == []
    assert desk.differences(dataset) == []
    for sample in dataset.values("id"):
        for box in read_tracks(dataset, sample):
            old = before.get(box["_id"])
            if old is None or np.abs(np.subtract(old["xyxy"], box["xyxy"])).max() > 0.01:
                assert box["source"] == ("human" if box["keyframe"] else "interpolated")
            else:
                assert box["source"] == "model"
    assert sync(link, EVERYTHING).counts == {}


@pytest.mark.parametrize("seed", [5, 6])
def test_rounds_of_edits_on_top_of_each_other_are_right_again(server, make_dataset, make_link, seed):
    dataset = make_dataset("reviewed", random_tracks(seed), random_tracks(seed + 100), frames=FRAMES)
    link = make_link(dataset)
    sync(link, EVERYTHING)
    desk = Desk(server, dataset, random.Random(seed))
    for edits in (60, 100, 60):
        desk.work(edits)
        report = sync(link, EVERYTHING)
        assert report.problems == []
        assert report.conflicts == []
        assert desk.differences(dataset) == []
        # What people did is there already, so nothing of it goes back to them.
        assert not [what for what in report.counts if what.startswith(("tracks created", "tracks up", "tracks del"))]
        for reviewer in desk.reviewers:
            reviewer.reload()
    assert sync(link, EVERYTHING).counts == {}
