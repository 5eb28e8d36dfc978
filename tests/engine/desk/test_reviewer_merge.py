"""What a reviewer meant is what the merge makes of it, whatever they did and in however many jobs."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
from cvat_reviewer import EDITS, Api, Reviewer, World
from cvat_server import CvatServer

from spam_plugin.engine.desk.diff import compare
from spam_plugin.engine.desk.labels import Labels, Patch
from spam_plugin.engine.desk.merging import JobReturn, merge
from spam_plugin.engine.desk.pushing import plan_sheet
from spam_plugin.engine.desk.sheets import Sheet, SheetTrack

CLASSES = ("car", "person")
FRAMES = 90


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CvatServer]:
    import cv2

    with CvatServer(share=tmp_path_factory.mktemp("share")) as server:
        path = str(server.share / "video.avi")
        writer = cv2.VideoWriter(path, cv2.VideoWriter_fourcc(*"MJPG"), 10, (64, 64))
        for _ in range(FRAMES):
            writer.write(np.zeros((64, 64, 3), np.uint8))
        writer.release()
        yield server


def random_labels(rng: np.random.Generator, tracks: int = 8) -> Labels:
    """Tracks that move jerkily, with gaps, apart from each other."""
    rows = []
    for number in range(1, tracks + 1):
        first, last = sorted(rng.integers(0, FRAMES, 2).tolist())
        x, y = rng.uniform(0, 60), 100.0 * number
        gone = set(range(*sorted(rng.integers(0, FRAMES, 2).tolist()))) if rng.random() < 0.3 else set()
        label = CLASSES[number % 2]
        for frame in range(first, last + 1):
            x, y = x + rng.normal(1, 1.5), y + rng.normal(0, 0.5)
            if frame not in gone:
                rows.append((frame, number, label, (x, y, x + 40 + rng.normal(), y + 50 + rng.normal())))
    rows.sort(key=lambda row: row[:2])
    return as_labels(rows, {number: f"instance{number}" for number in range(1, tracks + 1)})


def as_labels(rows: list[tuple], instance: dict[int, str]) -> Labels:
    count = len(rows)
    return Labels(
        np.array([row[0] for row in rows], np.int64), np.array([row[3] for row in rows], np.float64).reshape(-1, 4),
        np.array([row[1] for row in rows], np.int64), tuple(row[2] for row in rows), np.zeros(count, bool),
        np.ones(count, bool), np.zeros(count, bool), tuple(f"box{at}" for at in range(count)), np.zeros(count),
        instance,
    )  # fmt: skip


def apply(labels: Labels, patch: Patch) -> list[tuple]:
    gone = {key for keys in patch.remove.values() for key in keys}
    rows = {
        key: [int(frame), int(track), label, tuple(box)]
        for key, frame, track, label, box in zip(
            labels.key, labels.frame, labels.track, labels.label, labels.xyxy.tolist(), strict=True
        )
        if key not in gone
    }
    for at, put in enumerate(patch.put):
        key = put.key or f"new{at}"
        box = put.xyxy if put.xyxy is not None else rows[key][3]
        rows[key] = [put.frame, put.track, put.label, box]
    return [tuple(row) for row in rows.values()]


class Desk:
    """A task of the stand-in server, without the product's own way to it."""

    def __init__(self, server: CvatServer, segment: int) -> None:
        self.api = Api(server.url, server.username, server.password)
        attribute = {"name": "track_uid", "mutable": False, "input_type": "text", "values": [""], "default_value": ""}
        labels = [{"name": name, "attributes": [attribute]} for name in CLASSES]
        task = self.api.send(
            "POST", "/api/tasks", {"name": "t", "labels": labels, "segment_size": segment, "overlap": 0}
        )
        self.api.send("POST", f"/api/tasks/{task['id']}/data", {"image_quality": 70, "server_files": ["video.avi"]})
        self.jobs = self.api.jobs(task["id"])
        found = self.api.send("GET", f"/api/labels?task_id={task['id']}&page_size=100")["results"]
        self.labels = {label["id"]: label["name"] for label in found}
        self.uids = {label["id"]: label["attributes"][0]["id"] for label in found}

    def push(self, job: int, tracks: tuple[SheetTrack, ...]) -> tuple[SheetTrack, ...]:
        ids = {name: key for key, name in self.labels.items()}
        body = [
            {
                "label_id": ids[track.label], "frame": int(track.frame[0]), "group": 0, "source": "auto",
                "attributes": [{"spec_id": self.uids[ids[track.label]], "value": track.uid}],
                "shapes": [
                    {"type": "rectangle", "frame": f, "points": box, "outside": out, "occluded": False,
                     "attributes": []}
                    for f, box, out in zip(
                        track.frame.tolist(), track.xyxy.tolist(), track.outside.tolist(), strict=True
                    )
                ],
            }
            for track in tracks
        ]  # fmt: skip
        made = self.api.change(job, "create", body) if body else []
        return tuple(replace(track, remote=one["id"]) for track, one in zip(tracks, made, strict=True))

    def read(self, job: int) -> tuple[SheetTrack, ...]:
        out = []
        for track in self.api.tracks(job):
            shapes = sorted(track["shapes"], key=lambda shape: shape["frame"])
            uid = next((a["value"] for a in track["attributes"] if a["spec_id"] in self.uids.values()), "")
            out.append(
                SheetTrack(
                    uid,
                    self.labels[track["label_id"]],
                    np.array([s["frame"] for s in shapes]),
                    np.array([s["points"] for s in shapes], np.float64),
                    np.array([s["outside"] for s in shapes]),
                    remote=track["id"],
                )
            )
        return tuple(out)


@pytest.mark.parametrize("segment", [FRAMES, 30])
@pytest.mark.parametrize("seed", range(12))
def test_after_random_edits_the_dataset_is_what_the_reviewer_meant(server: CvatServer, seed: int, segment: int) -> None:
    rng = random.Random(seed)
    labels = random_labels(np.random.default_rng(seed))
    desk = Desk(server, segment)
    boxes = zip(labels.frame.tolist(), labels.track.tolist(), labels.label, labels.xyxy.tolist(), strict=True)
    world = World.of((frame, f"instance{track}", label, tuple(box)) for frame, track, label, box in boxes)
    bases = {}
    for job in desk.jobs:
        sheet = Sheet(job["start_frame"], job["stop_frame"], ())
        plan = plan_sheet(labels, sheet, {})
        base = desk.push(job["id"], plan.create)
        bases[job["id"]] = (replace(sheet, tracks=base), plan.instances)
    reviewers = [Reviewer(desk.api, job, world, desk.labels, set(desk.uids.values()), rng) for job in desk.jobs]
    for _ in range(40):
        rng.choice(reviewers).edit(rng.choice(EDITS))
    returns = [JobReturn(job, compare(base, desk.read(job)), instances) for job, (base, instances) in bases.items()]
    merged = merge("video", labels, returns, lambda number: f"new{number}")
    assert not merged.conflicts
    assert world.differences(apply(labels, merged.patch)) == []


@pytest.mark.parametrize("segment", [FRAMES, 30])
@pytest.mark.parametrize("seed", range(100, 112))
def test_whatever_people_did_on_both_sides_no_track_has_two_boxes_in_a_frame(
    server: CvatServer, seed: int, segment: int
) -> None:
    rng, dice = random.Random(seed), np.random.default_rng(seed)
    labels = random_labels(dice)
    desk = Desk(server, segment)
    boxes = zip(labels.frame.tolist(), labels.track.tolist(), labels.label, labels.xyxy.tolist(), strict=True)
    world = World.of((frame, f"instance{track}", label, tuple(box)) for frame, track, label, box in boxes)
    bases = {}
    for job in desk.jobs:
        sheet = Sheet(job["start_frame"], job["stop_frame"], ())
        plan = plan_sheet(labels, sheet, {})
        bases[job["id"]] = (replace(sheet, tracks=desk.push(job["id"], plan.create)), plan.instances)
    reviewers = [Reviewer(desk.api, job, world, desk.labels, set(desk.uids.values()), rng) for job in desk.jobs]
    for _ in range(40):
        rng.choice(reviewers).edit(rng.choice(EDITS))
    # Meanwhile somebody moves a third of the boxes in the dataset, and a tenth of them far.
    human = dice.random(len(labels)) < 0.3
    by = np.where(dice.random(len(labels)) < 0.1, 35.0, 3.0)[:, None] * human[:, None]
    ours = replace(labels, human=human, keyframe=human, xyxy=labels.xyxy + by)
    returns = [JobReturn(job, compare(base, desk.read(job)), instances) for job, (base, instances) in bases.items()]
    merged = merge("video", ours, returns, lambda number: f"new{number}")
    after = apply(ours, merged.patch)
    assert len({(frame, track) for frame, track, _, _ in after}) == len(after)
    there = {tuple(box) for _, _, _, box in after}
    lost = [tuple(box) for box in ours.xyxy[human & (by[:, 0] > 30)].tolist() if tuple(box) not in there]
    assert not lost, "what a person has set far away from what was sent is never given up"
