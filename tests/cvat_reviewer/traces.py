"""All that a dataset and a server hold: put aside and put back, and as lines of text by which two endings compare.

Objects at the server go by their names and not by their numbers, boxes and whatever else was made meanwhile go without
ids, and times are left out; so two endings that are the same for everybody who looks have the same lines.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any

from bson import DBRef, ObjectId
from bson.raw_bson import RawBSONDocument

if TYPE_CHECKING:
    from cvat_server import CvatServer
    from pymongo.database import Database

    from .api import Api

Plain = dict[str, Any]
JOURNAL, ANSWERS = "spam_plugin.sync.spam_tracks", "spam_plugin.answers.spam_tracks"
LEDGER = "spam_plugin.ledger.spam_tracks"
_LINK = re.compile(r"\[\d+\]\(\S+/tasks/\d+/jobs/(\d+)\)")


class Archive:
    """What the database holds of one dataset.

    Args:
        database: FiftyOne's.
        name: of the dataset.
    """

    def __init__(self, database: Database[Plain], name: str) -> None:
        self._database = database
        about = database.datasets.find_one({"name": name})
        assert about is not None
        self._places: dict[str, tuple[str, Plain]] = {
            "dataset": ("datasets", {"_id": about["_id"]}),
            "views": ("views", {"_dataset_id": about["_id"]}),
            "runs": ("runs", {"_dataset_id": about["_id"]}),
            "store": ("execution_store", {"dataset_id": about["_id"]}),
            "samples": (about["sample_collection_name"], {}),
            "frames": (about["frame_collection_name"], {}),
        }

    def take(self) -> dict[str, list[RawBSONDocument]]:
        """Everything, to be put back."""
        raw = self._database.codec_options.with_options(document_class=RawBSONDocument)
        return {
            what: list(self._database.get_collection(name, raw).find(mine))
            for what, (name, mine) in self._places.items()
        }

    def put(self, taken: dict[str, list[RawBSONDocument]]) -> None:
        """Makes everything as it was."""
        for what, (name, mine) in self._places.items():
            self._database[name].delete_many(mine)
            if taken[what]:
                self._database[name].insert_many(taken[what])

    def documents(self, what: str) -> list[Plain]:
        """What is there now, to be read."""
        name, mine = self._places[what]
        return list(self._database[name].find(mine))

    def ids(self) -> set[str]:
        """Ids of everything that is there now, boxes included."""
        return {one for what in self._places for one in _ids(self.documents(what))}


def _ids(value: Any) -> Iterator[str]:
    if isinstance(value, ObjectId):
        yield str(value)
    elif isinstance(value, (dict, list)):
        for one in value.values() if isinstance(value, dict) else value:
            yield from _ids(one)


@dataclass
class Names:
    """What the server's objects are called, by their numbers."""

    jobs: dict[int, str] = field(default_factory=dict)
    tasks: dict[int, str] = field(default_factory=dict)
    tracks: dict[int, str] = field(default_factory=dict)
    issues: dict[int, str] = field(default_factory=dict)
    updated: dict[int, str] = field(default_factory=dict)


def traces(archive: Archive, server: CvatServer, api: Api, known: set[str]) -> list[str]:
    """Lines that say all that there is, in alphabetical order.

    Args:
        archive: the dataset's side.
        server: the stand-in.
        api: to the same server.
        known: ids in the database that are compared as they are.
    """
    names = Names()
    at_desk = list(_at_desk(server, api, names))
    return sorted([*at_desk, *_in_dataset(archive, known), *_in_store(archive, known, names)])


def differences(wanted: list[str], found: list[str]) -> str:
    """Lines that only one side has; empty if there are none."""
    left = list(found)
    lacking = []
    for line in wanted:
        if line in left:
            left.remove(line)
        else:
            lacking.append(line)
    return "\n".join([*(f"- {line[:600]}" for line in lacking[:6]), *(f"+ {line[:600]}" for line in left[:6])])


def _line(what: str, value: Any) -> str:
    return f"{what}: {json.dumps(value, sort_keys=True)}"


def _at_desk(server: CvatServer, api: Api, names: Names) -> Iterator[str]:
    labels = {label["id"]: label for label in server.labels()}
    said = {one["id"]: one["name"] for label in labels.values() for one in label["attributes"]}
    names.tasks = {task["id"]: task["name"] for task in server.tasks()}
    for job in server.jobs():
        names.jobs[job["id"]] = f"{names.tasks[job['task_id']]}, {job['start_frame']}-{job['stop_frame']}"
        names.updated[job["id"]] = job["updated_date"]
    for project in server.projects():
        yield _line("project", project["name"])
        if project["guide_id"] is not None:
            text = api.send("GET", f"/api/guides/{project['guide_id']}")["markdown"]
            yield _line("guide", _LINK.sub(lambda found: names.jobs.get(int(found[1]), "no job"), text))
    for label in labels.values():
        said_of = [[one[name] for name in ("name", "mutable", "input_type", "values")] for one in label["attributes"]]
        yield _line("label", [label["name"], said_of])
    for task in server.tasks():
        yield _line("task", [task.get(name) for name in ("name", "size", "segment_size", "overlap", "image_quality")])
    for job in server.jobs():
        name = names.jobs[job["id"]]
        yield _line("job", [name, job["state"], job["stage"], (job["assignee"] or {}).get("username")])
        for track in server.annotations(job["id"])["tracks"]:
            values = {said[one["spec_id"]]: one["value"] for one in track["attributes"]}
            names.tracks[track["id"]] = f"{name}, {values.get('track_uid')}"
            shapes = [{key: value for key, value in shape.items() if key != "id"} for shape in track["shapes"]]
            yield _line(
                "track", [name, labels[track["label_id"]]["name"], track["source"], track["group"], values, shapes]
            )
        for issue in server.issues(job["id"]):
            words = [(one["owner"]["username"], one["message"]) for one in issue["comments"]]
            names.issues[issue["id"]] = f"{name}, {issue['frame']}, {issue['position']}, {words[0][1]}"
            yield _line("issue", [name, issue["frame"], issue["position"], issue["resolved"], words])


def _plain(value: Any, known: set[str]) -> Any:
    """Without times, and with ids only where they were known before."""
    if isinstance(value, DBRef):
        value = value.id
    if isinstance(value, ObjectId):
        return str(value) if str(value) in known else "new"
    if isinstance(value, dict):
        return {key: _plain(one, known) for key, one in value.items() if not isinstance(one, datetime)}
    if isinstance(value, list):
        return [_plain(one, known) for one in value]
    return value


def _in_dataset(archive: Archive, known: set[str]) -> Iterator[str]:
    for document in archive.documents("dataset"):
        for key, value in _plain(document, known).items():
            for one in value if isinstance(value, list) else [value]:
                yield _line(f"dataset, {key}", one)
    there = {view["_id"] for view in archive.documents("views")}
    for document in archive.documents("dataset"):
        lost = [view for view in document.get("saved_views", []) if getattr(view, "id", view) not in there]
        yield _line("saved views that are not there", len(lost))
    for what in ("views", "runs"):
        for document in archive.documents(what):
            yield _line(what, _plain(document, known))
    for what in ("samples", "frames"):
        for document in archive.documents(what):
            name = f"{what} {document.get('_sample_id', document['_id'])} {document.get('frame_number', '')}"
            for key, value in _plain(document, known).items():
                if not (isinstance(value, dict) and value.get("_cls") == "Detections"):
                    yield _line(f"{name}, {key}", value)
                    continue
                for box in value.pop("detections"):
                    yield _line(f"{name}, {key}, box", box)
                yield _line(f"{name}, {key}", value)


def _in_store(archive: Archive, known: set[str], names: Names) -> Iterator[str]:
    ledger: Plain = {}
    for document in archive.documents("store"):
        store, key, value = (document.get(name) for name in ("store_name", "key", "value"))
        if store == LEDGER and "json" in (value or {}):
            ledger[key] = json.loads(value["json"])
        elif store == ANSWERS and key != "__store__":
            for answer in value["answers"]:
                yield _line("answer", answer)
        elif store == JOURNAL and "json" in (value or {}):
            yield from _note(key, json.loads(value["json"]), names)
        else:
            yield _line(f"store {store}, {key}", _plain(value, known))
    yield from _in_ledger(ledger)


def _in_ledger(notes: Plain) -> Iterator[str]:
    """What is told of each video; who was interrupted has more rounds, and a log of another length says the same."""
    from spam_plugin.integrations.fiftyone_.book import Contents

    contents = Contents(**notes.pop("book", {}))
    for key in sorted(notes):
        if key.startswith("log/"):
            contents.take(key, notes[key])
        else:
            yield _line(f"ledger, {key}", notes[key])
    for key, values in contents.videos.items():
        for name, value in values.items():
            yield _line(f"ledger of {key}, {name}", value)


def _note(key: str, value: Any, names: Names) -> Iterator[str]:
    if key.startswith("job/"):
        number = value["job"]
        name = f"note of job {names.jobs.get(number)}"
        for track in value.pop("base"):
            yield _line(f"{name}, track", {**track, "remote": names.tracks.get(track["remote"])})
        for query, issue in value.pop("asked"):
            yield _line(f"{name}, asked", [query, names.issues.get(issue)])
        renamed = {"task": names.tasks.get(value["task"]), "updated": value["updated"] == names.updated.get(number)}
        yield _line(name, {**value, "job": None, **renamed})
    elif key.startswith("video/"):
        jobs = [names.jobs.get(job) for job in value["jobs"]]
        yield _line(f"note {key}", {**value, "task": names.tasks.get(value["task"]), "jobs": jobs})
    else:
        yield _line(f"note {key}", {**value, "project": None} if key == "desk" else value)
