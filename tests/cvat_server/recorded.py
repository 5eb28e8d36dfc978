"""Comparing answers of the stand-in with recorded ones of a real server, whose ids, dates and addresses differ.

A recorded id and the stand-in's that stands in its place are learnt from the answers, as a one-to-one relation for each
kind of object. So an id that has to stay must stay, and one that has to be new must be new.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from typing import Any
from urllib.parse import parse_qsl, quote, unquote, urlencode

RECORDED_URL = "http://127.0.0.1:8081"
RECORDED_RECEIVER = "http://127.0.0.1:8765"
# Fields that hold the id of another object, and its kind.
REFERENCES = {
    "label_id": "labels",
    "spec_id": "specs",
    "task_id": "tasks",
    "project_id": "projects",
    "job_id": "jobs",
    "job": "jobs",
    "issue_id": "issues",
    "issue": "issues",
    "webhook_id": "webhooks",
    "guide_id": "guides",
    "assignee": "users",
    "assignee_id": "users",
    "data": "media",
}
# Free text, and secrets that the recorder took out: that it is there, and of which type, is all that counts.
FREE = ("key", "description", "subtitle", "logo_url", "version", "color", "response", "detail")
# Extra fields of the fork that was recorded.
OF_THE_FORK = ("view_id", "needs_review")
UPLOAD = re.compile(r"\d+_[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
DATE = re.compile(r"\d{4}-\d\d-\d\dT[\d:.]+Z")


def without_the_fork(value: Any) -> Any:
    """The value without what no other CVAT has."""
    if isinstance(value, list):
        return [without_the_fork(item) for item in value]
    if not isinstance(value, dict):
        return value
    dropped = {*OF_THE_FORK, *(["description"] if "needs_review" in value else [])}
    return {key: without_the_fork(item) for key, item in value.items() if key not in dropped}


class Translator:
    """From the recorded world into the stand-in's.

    Args:
        url: of the stand-in.
        receiver: where the stand-in's webhooks are received.
    """

    def __init__(self, url: str, receiver: str) -> None:
        self._addresses = {RECORDED_URL: url, RECORDED_RECEIVER: receiver}
        self._ids: dict[str, dict[int, int]] = {}
        self._uploads: dict[str, str] = {}
        self._dates: list[tuple[str, str]] = []

    # Into requests.

    def number(self, kind: str, recorded: int) -> int:
        """The stand-in's id; one that no answer has told is the same in both."""
        return self._ids.get(kind, {}).get(recorded, recorded)

    def text(self, text: str) -> str:
        """Addresses, ids in addresses and in names of background requests, and names of uploads."""
        for recorded, ours in self._addresses.items():
            text = text.replace(recorded, ours)
        text = UPLOAD.sub(lambda found: self._uploads.get(found[0], found[0]), text)

        def in_path(found: re.Match[str]) -> str:
            return f"/{found[1]}/{self.number(found[1], int(found[2]))}"

        text = re.sub(r"/(projects|tasks|jobs|labels|issues|comments|webhooks|deliveries|users)/(\d+)", in_path, text)
        text = re.sub(
            r"\b(task|project|job|issue)_id=(\d+)",
            lambda found: f"{found[1]}_id={self.number(found[1] + 's', int(found[2]))}",
            text,
        )
        return re.sub(
            r"target=(task|job)&target_id=(\d+)",
            lambda found: f"target={found[1]}&target_id={self.number(found[1] + 's', int(found[2]))}",
            text,
        )

    def path(self, path: str) -> str:
        """A request's path with its query."""
        before, _, query = path.partition("?")
        translated = self.text(unquote(before))
        if unquote(before) != before:
            translated = "/".join(quote(part, safe="") for part in translated.split("/"))
        pairs = []
        for name, value in parse_qsl(query, keep_blank_values=True):
            if name in REFERENCES and value.isdigit():
                value = str(self.number(REFERENCES[name], int(value)))
            elif name == "filter":
                value = DATE.sub(lambda found: self._date(found[0]), value)
            elif name in ("rq_id", "filename"):
                value = self.text(value)
            pairs.append((name, value))
        return translated + (f"?{urlencode(pairs, quote_via=quote)}" if pairs else "")

    def _date(self, recorded: str) -> str:
        """A date of the stand-in that parts what it was compared with as the recorded one does."""
        known = sorted(self._dates)
        place = bisect_right(known, (recorded, "~"))
        return known[place - 1][1] if place else recorded

    def body(self, value: Any, kind: str = "", key: str = "") -> Any:
        """A request's JSON."""
        if isinstance(value, dict):
            return {name: self.body(item, self._kind(value, kind, key), name) for name, item in value.items()}
        if isinstance(value, list):
            return [self.body(item, _kind_in_list(key, kind), key) for item in value]
        if isinstance(value, str):
            return self.text(value)
        if type(value) is int and (key == "id" or key in REFERENCES):
            return self.number(kind if key == "id" else REFERENCES[key], value)
        return value

    @staticmethod
    def _kind(record: dict[str, Any], kind: str, key: str) -> str:
        """What kind of object a JSON object is, as its ``url``, its fields or its place tell."""
        if found := re.search(r"/api/(\w+)/\d+$", str(record.get("url", ""))):
            return found[1]
        for mark, meant in (
            ("has_parent", "labels"),
            ("input_type", "specs"),
            ("position", "issues"),
            ("issue", "comments"),
            ("status_code", "deliveries"),
            ("expiry_date", "access_tokens" if "read_only" in record else ""),
            ("markdown", "guides"),
            ("username", "users"),
        ):
            if mark in record:
                return meant
        return kind

    # From answers.

    def differences(self, recorded: Any, ours: Any, path: str = "", kind: str = "", key: str = "") -> list[str]:
        """Where two answers differ that should not; ids are learnt on the way."""
        if isinstance(recorded, dict) and isinstance(ours, dict):
            return self._compare_objects(recorded, ours, path, self._kind(recorded, kind, key))
        if isinstance(recorded, list) and isinstance(ours, list):
            return self._compare_lists(recorded, ours, path, kind, key)
        if key == "id" or key in REFERENCES:
            expected = kind if key == "id" else REFERENCES[key]
            if type(recorded) is int and type(ours) is int and expected:
                return self._learn(expected, recorded, ours, path)
        if key == "changed_fields":  # in the order of the database's JSON
            recorded, ours = (",".join(sorted(str(text).split(","))) for text in (recorded, ours))
        if isinstance(recorded, str) and isinstance(ours, str):
            return self._compare_texts(recorded, ours, path, key)
        if isinstance(recorded, int | float) and type(recorded) is not bool and isinstance(ours, int | float):
            near = type(ours) is not bool and abs(recorded - ours) < 1e-9 * max(1, abs(recorded))
            return [] if near else [f"{path}: {ours!r} instead of {recorded!r}"]
        return [] if recorded is ours or recorded == ours else [f"{path}: {ours!r} instead of {recorded!r}"]

    def _compare_objects(self, recorded: dict[str, Any], ours: dict[str, Any], path: str, kind: str) -> list[str]:
        found = [f"{path}: {name} is missing" for name in recorded.keys() - ours.keys()]
        found += [f"{path}: {name} is too much" for name in ours.keys() - recorded.keys()]
        # An object's own id comes first, what follows may speak of it.
        for name in sorted(recorded.keys() & ours.keys(), key=lambda name: name != "id"):
            if self._is_free(name, kind) and isinstance(recorded[name], str) and isinstance(ours[name], str):
                continue
            found += self.differences(recorded[name], ours[name], f"{path}.{name}", kind, name)
        return found

    @staticmethod
    def _is_free(name: str, kind: str) -> bool:
        if name == "name":  # of the server itself
            return kind == ""
        if name == "message":  # of a background request, while comments say what they were told to
            return kind != "comments"
        if name == "value":  # of an access token, while the values of attributes count
            return kind == "access_tokens"
        return name in FREE

    def _compare_lists(self, recorded: list[Any], ours: list[Any], path: str, kind: str, key: str) -> list[str]:
        if len(recorded) != len(ours):
            return [f"{path}: {len(ours)} items instead of {len(recorded)}"]
        inner = _kind_in_list(key, kind)
        if key == "attributes" and all(isinstance(item, dict) and "spec_id" in item for item in recorded + ours):
            # The order of values is that of a database without an order.
            recorded, ours = (
                sorted(items, key=lambda one: (one["spec_id"], one["value"])) for items in (recorded, ours)
            )
        elif inner == "keyframes":
            recorded, ours = (sorted(items, key=_place_in_track) for items in (recorded, ours))
        elif inner == "tracks" and all("id" in track for track in recorded + ours):
            known = self._ids.get("tracks", {})
            by_id = {track["id"]: track for track in ours}
            partners = [by_id.get(known.get(track["id"], -1)) for track in recorded]
            if None not in partners and self.tracks_in_any_order:
                ours = partners  # type: ignore[assignment]
        found = []
        for place, (theirs, mine) in enumerate(zip(recorded, ours, strict=True)):
            found += self.differences(theirs, mine, f"{path}[{place}]", inner, key)
        return found

    # Where writers raced, which track is older is chance.
    tracks_in_any_order = False

    def _learn(self, kind: str, recorded: int, ours: int, path: str) -> list[str]:
        known = self._ids.setdefault(kind, {})
        if recorded in known:
            return [] if known[recorded] == ours else [f"{path}: {kind} {ours} instead of {known[recorded]}"]
        if ours in known.values():
            return [f"{path}: {kind} {ours} again, where the real server had a new one"]
        known[recorded] = ours
        return []

    def _compare_texts(self, recorded: str, ours: str, path: str, key: str) -> list[str]:
        if DATE.fullmatch(recorded):
            if not DATE.fullmatch(ours):
                return [f"{path}: {ours!r} is no date"]
            self._dates.append((recorded, ours))
            return []
        if recorded == "<redacted>":
            return []
        if UPLOAD.search(recorded) and UPLOAD.search(ours):
            self._uploads[UPLOAD.search(recorded)[0]] = UPLOAD.search(ours)[0]  # type: ignore[index]
        expected = self.text(unquote(recorded))
        return [] if unquote(ours) == expected else [f"{path}: {ours!r} instead of {expected!r}"]

    def same_text(self, recorded: str, ours: str, path: str) -> list[str]:
        """Compare two headers."""
        return self._compare_texts(recorded, ours, path, "")


def _kind_in_list(key: str, kind: str) -> str:
    """The kind of the objects in a list of this name."""
    if key == "shapes":
        return "keyframes" if kind == "tracks" else "shapes"
    named = {"tracks": "tracks", "tags": "tags", "labels": "labels", "frames": "frames"}
    return named.get(key, kind if key == "results" else "")


def _place_in_track(keyframe: dict[str, Any]) -> tuple[int, bool, list[float]]:
    return keyframe["frame"], keyframe.get("outside", False), keyframe["points"]


def shape_of(value: Any) -> Any:
    """What an error looks like, whatever its words: keys, lengths and types."""
    if isinstance(value, dict):
        return {key: shape_of(item) for key, item in value.items()}
    if isinstance(value, list):
        return [shape_of(item) for item in value]
    return type(value).__name__
