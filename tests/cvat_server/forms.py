"""Multipart forms as requests, the SDK and FiftyOne send them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl

if TYPE_CHECKING:
    from .routing import Request


@dataclass(frozen=True)
class FormFile:
    """One file of a form; CVAT, like Django, keeps the last part of its name only."""

    field: str
    name: str
    content: bytes


def fields_of(request: Request) -> tuple[dict[str, Any], list[FormFile]]:
    """The plain fields and the files of a form, files in the order of the index in ``client_files[3]``.

    Fields named ``name[0]``, ``name[1]`` become one list ``name``.
    """
    if request.content_type == "application/x-www-form-urlencoded":
        pairs: list[tuple[str, Any]] = list(parse_qsl(request.body.decode()))
    else:
        pairs = list(_parts(request))
    values: dict[str, Any] = {}
    files: list[FormFile] = []
    for name, value in pairs:
        indexed = re.fullmatch(r"(\w+)\[(\d+)\]", name)
        if isinstance(value, FormFile):
            files.append(value)
        elif indexed:
            values.setdefault(indexed[1], []).append(value)
        else:
            values[name] = value
    files.sort(key=lambda file: int(found[1]) if (found := re.search(r"\[(\d+)\]", file.field)) else 0)
    return values, files


def _parts(request: Request) -> Iterator[tuple[str, Any]]:
    boundary = re.search(r'boundary="?([^";]+)', str(request.headers.get("Content-Type")))
    if boundary is None:
        return
    for part in request.body.split(b"--" + boundary[1].encode())[1:-1]:
        head, _, content = part[2:-2].partition(b"\r\n\r\n")
        header = head.decode("utf-8", "replace")
        name = re.search(r'\bname="([^"]*)"', header)
        if name is None:
            continue
        filename = re.search(r'\bfilename="([^"]*)"', header)
        if filename is None:
            yield name[1], content.decode()
        else:
            yield name[1], FormFile(name[1], PurePosixPath(filename[1].replace("\\", "/")).name, content)
