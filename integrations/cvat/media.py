"""Giving a task its media: uploads, files of the server's share or of a cloud storage, and the wait for them."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import urllib3
from cvat_sdk import exceptions
from cvat_sdk.core.progress import BaseProgressReporter
from cvat_sdk.core.uploading import DataUploader

from ...engine.desk.ports import DeskError, GoneError, Media
from ...models.errors import InputError
from .client import Session
from .trouble import Trouble

# Of one request, in bytes. A file that is larger is sent in pieces, of which each can be sent again.
MOST_BYTES = 20 << 20
BUSY = ("queued", "started")
_BROKEN = (exceptions.ApiException, exceptions.CvatSdkException, urllib3.exceptions.HTTPError, OSError)

Tell = Callable[[float], None]


def media_request(session: Session, task: int) -> dict[str, Any] | None:
    """The server's work on the media of a task, or None if it knows of none."""
    try:
        return session.send("GET", f"/api/requests/action=create&target=task&target_id={task}")
    except GoneError:
        pass
    # Older servers name their work differently.
    found = session.send("GET", "/api/requests", action="create", target="task", task_id=task, page_size=100)
    mine = [one for one in found["results"] if (one.get("operation") or {}).get("task_id") == task]
    return max(mine, key=lambda one: str(one.get("created_date")), default=None)


def send_media(session: Session, task: int, media: Media, tell: Tell | None = None) -> None:
    """Hands media over; the server reads them after that.

    Args:
        session: with the server.
        task: number of the task.
        media: to send.
        tell: told the share that is sent.

    Raises:
        InputError: for a file that is not there.
        DeskError: if the upload broke off, and half of it may be there.
    """
    params: dict[str, Any] = {"image_quality": media.image_quality, "use_cache": True, "use_zip_chunks": True}
    if len(media.files) > 1:
        params["sorting_method"] = "predefined"
    # Reads the task, so that a session that has ended is opened again before the first byte is sent.
    session.send("GET", f"/api/tasks/{task}", what=f"reading task {task}")
    if media.remote is None:
        with _uniquely_named(media.files) as files:
            _upload(session, task, files, params, tell)
        return
    body = {**params, "server_files": [str(one) for one in media.files]}
    if media.remote != "share":
        if not media.remote.isdigit():
            raise InputError(f'media are at {media.remote!r}; it must be "share" or the number of a cloud storage')
        body["cloud_storage_id"] = int(media.remote)
    session.send(
        "POST",
        f"/api/tasks/{task}/data",
        body,
        lambda: media_request(session, task),
        f"naming the media of task {task}",
    )


def _upload(session: Session, task: int, files: list[Path], params: dict[str, Any], tell: Tell | None) -> None:
    url = session.client.api_map.make_endpoint_url(f"/api/tasks/{task}/data")
    what = f"sending the media of task {task}"
    try:
        DataUploader(session.client, max_request_size=MOST_BYTES).upload_files(
            url, files, pbar=_Shares(tell) if tell else None, **params
        )
    except (*_BROKEN, AttributeError) as error:
        # cvat-sdk 2.54 stumbles over its own logger when a piece gets lost, instead of sending it again.
        lost = error.__context__ if isinstance(error, AttributeError) else error
        if not isinstance(lost, _BROKEN):
            raise
        refusal = session.refusal(lost, what)
        if not isinstance(refusal, Trouble):
            raise refusal from None
        # Perhaps only the last answer got lost.
        if media_request(session, task) is None:
            raise DeskError(f"{what}: the upload broke off ({refusal.why}); it has to be sent anew") from None


class _Shares(BaseProgressReporter):
    """Tells what share of an upload is done."""

    def __init__(self, tell: Tell) -> None:
        super().__init__()
        self._tell, self._total, self._done, self._said = tell, 1, 0, -1.0

    def start2(self, total: int, **_: Any) -> None:
        super().start2(total)
        self._total = max(total, 1)

    def report_status(self, progress: int) -> None:
        self.advance(progress - self._done)

    def advance(self, delta: int) -> None:
        super().advance(delta)
        # cvat-sdk tells before it sends what it has read, and when it looks how long a file is: to its end, and back.
        if delta >= 0:
            self._say()
        self._done += delta

    def finish(self) -> None:
        super().finish()
        self._say()

    def _say(self) -> None:
        share = min(1.0, self._done / self._total)
        if share > self._said:
            self._said = share
            self._tell(share)


@contextmanager
def _uniquely_named(files: Sequence[Path | str]) -> Iterator[list[Path]]:
    """Files whose names differ, as the server puts all of a task into one folder."""
    paths = [Path(one).absolute() for one in files]
    lost = next((one for one in paths if not one.is_file()), None)
    if lost is not None:
        raise InputError(f"there is no file {lost}; put it back, or remove the sample")
    # cvat-sdk looks through links, and sends the names that are behind them.
    if len({one.name for one in paths}) == len(paths) and all(one.name == one.resolve().name for one in paths):
        yield paths
        return
    with tempfile.TemporaryDirectory(prefix="spam-plugin-upload-") as folder:
        staged = []
        for at, one in enumerate(paths):
            copy = Path(folder).resolve() / f"{at:07d}_{one.name}"
            try:
                os.link(one.resolve(), copy)
            except OSError:  # another file system
                shutil.copyfile(one, copy)
            staged.append(copy)
        yield staged
