"""What CVAT's serializers check of annotations, which is little, and what they fill in."""

from __future__ import annotations

from typing import Any

from .routing import bad_request

Record = dict[str, Any]
REQUIRED = ["This field has to be there."]
NOT_AN_INTEGER = ["This has to be an integer."]
TOO_SMALL = ["This has to be 0 or greater."]
TYPES = ("rectangle", "polygon", "polyline", "points", "ellipse", "cuboid", "mask", "skeleton")
LONGEST_VALUE = 4096
# CVAT's database holds no more; a longer source is not refused but breaks the request.
LONGEST_SOURCE = 16


def annotations_of(body: Record, *, ids_allowed: bool) -> Record:
    """The tags, shapes and tracks of a body with all fields, or 400 with the errors item by item.

    Coordinates keep the type that they were sent with, as the answers to writes show them so.
    """
    checked: Record = {"version": 0}
    errors: Record = {}
    for kind, check in (("tags", _tag), ("shapes", _shape), ("tracks", _track)):
        items, wrong = _each(body.get(kind) or [], check, ids_allowed)
        checked[kind] = items
        if wrong:
            errors[kind] = wrong
    if errors:
        raise bad_request(errors)
    return checked


def _each(items: Any, check: Any, *more: Any) -> tuple[list[Record], list[Record] | Any]:
    """Checked items; and, if there is an error, one dict of errors for each, empty for the good ones."""
    if not isinstance(items, list):
        return [], {"non_field_errors": ["A list was expected."]}
    good: list[Record] = []
    wrong: list[Record] = []
    for item in items:
        errors: Record = {}
        if isinstance(item, dict):
            good.append(check(item, errors, *more))
        else:
            errors["non_field_errors"] = ["A dictionary was expected."]
        wrong.append(errors)
    return good, wrong if any(wrong) else []


def _integer(item: Record, name: str, errors: Record, default: Any = None) -> Any:
    """An integer field that may not be negative; without a default it is required."""
    value = item.get(name, default)
    if type(value) is int and value >= 0:
        return value
    if name not in item and default is None:
        errors[name] = REQUIRED
    elif isinstance(value, str) and value.isascii() and value.isdigit():
        return int(value)
    elif value is None and default is not None:
        return None
    else:
        errors[name] = TOO_SMALL if type(value) is int else NOT_AN_INTEGER
    return value


def _number(item: Record, errors: Record, ids_allowed: bool) -> int | None:
    number = item.get("id")
    if number is not None and not ids_allowed:
        errors["id"] = ["An id may not be given here."]
    return number


def _attributes(item: Record, errors: Record) -> list[Record]:
    given = item.get("attributes")
    if not given:
        return []
    attributes, wrong = _each(given, _attribute)
    if wrong:
        errors["attributes"] = wrong
    return attributes


def _attribute(item: Record, errors: Record) -> Record:
    value = item.get("value")
    if value is None or isinstance(value, bool | list | dict):
        errors["value"] = REQUIRED if "value" not in item else ["This is no text."]
    elif len(value := str(value)) > LONGEST_VALUE:
        errors["value"] = [f"This has more than {LONGEST_VALUE} characters."]
    return {"spec_id": _integer(item, "spec_id", errors), "value": value}


def _object(item: Record, errors: Record, ids_allowed: bool) -> Record:
    """The fields that tags, shapes and tracks have in common."""
    return {
        "id": _number(item, errors, ids_allowed),
        "frame": _integer(item, "frame", errors),
        "label_id": _integer(item, "label_id", errors),
        "group": _integer(item, "group", errors, 0),
        "source": str(item.get("source", "manual")),
        "attributes": _attributes(item, errors),
    }


def _tag(item: Record, errors: Record, ids_allowed: bool) -> Record:
    return _object(item, errors, ids_allowed)


def _shape(item: Record, errors: Record, ids_allowed: bool) -> Record:
    return {**_geometry(item, errors), **_object(item, errors, ids_allowed), "elements": []}


def _track(item: Record, errors: Record, ids_allowed: bool) -> Record:
    track = _object(item, errors, ids_allowed)
    if "shapes" not in item:
        errors["shapes"] = REQUIRED
        return track
    # Keyframes may carry ids even where their track may not.
    track["shapes"], wrong = _each(item["shapes"], _keyframe)
    if wrong:
        errors["shapes"] = wrong
    track["elements"] = []
    return track


def _keyframe(item: Record, errors: Record) -> Record:
    keyframe = _geometry(item, errors)
    keyframe["id"] = item.get("id")
    keyframe["frame"] = _integer(item, "frame", errors)
    keyframe["attributes"] = _attributes(item, errors)
    return keyframe


def _geometry(item: Record, errors: Record) -> Record:
    kind = item.get("type")
    points = item.get("points", [])
    if kind not in TYPES:
        errors["type"] = REQUIRED if kind is None else [f'"{kind}" is none of the choices.']
    elif not isinstance(points, list):
        errors["points"] = ["A list was expected."]
    elif strange := {str(place): "no number" for place, x in enumerate(points) if type(x) not in (float, int)}:
        errors["points"] = strange
    elif not _fits(kind, len(points)):
        errors["points"] = [f"That is no length for a {kind}."]
    return {
        "type": kind,
        "occluded": bool(item.get("occluded", False)),
        "outside": bool(item.get("outside", False)),
        "z_order": item.get("z_order", 0),
        "rotation": item.get("rotation", 0),
        "points": points,
    }


def _fits(kind: str, length: int) -> bool:
    exact = {"rectangle": 4, "ellipse": 4, "cuboid": 16, "skeleton": 0}
    if kind in exact:
        return length == exact[kind]
    if kind == "mask":
        return length >= 4
    return length % 2 == 0 and length >= {"polygon": 6, "polyline": 4, "points": 2}[kind]
