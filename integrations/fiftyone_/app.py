"""The FiftyOne App, as processes under this one: its server, which is told what to show, and a worker for its jobs."""

from __future__ import annotations

import ctypes
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from uuid import uuid4

import fiftyone as fo
import requests
from bson import json_util
from fiftyone.core.session.events import StateUpdate, dict_factory
from fiftyone.core.state import StateDescription, build_color_scheme

from ...models.errors import InputError, SpamPluginError
from . import looking
from .choices import Choices
from .linking import plugins_folder
from .settings import set_up

LOOPBACK = "127.0.0.1"  # the App has no log-in, and its server gives media and plugins to whoever can reach it
PANEL = "spam_panel"
SHARES = (0.57, 0.43)  # of the samples and of our panel

# A process that is started so has the working folder in its path, whose files must not be taken for modules. Each look
# for a database that has gone would take 30 s, at some of which the server serves nobody; "serverSelectionTimeoutMS" in
# a URI has its way.
_SERVER = """if True:
    import sys
    sys.path[:] = filter(None, sys.path)
    from pymongo import common
    common.SERVER_SELECTION_TIMEOUT = 5
    from fiftyone.server.main import start_server
    start_server(port={port}, address={address!r})
"""
_PATIENCE = 120.0  # seconds until a server that says nothing is given up: a laptop that has just been started is slow
_STEP = 0.2
_GRACE = 20.0  # seconds to end in: a worker ends its job first
_WILDCARDS = {"0.0.0.0": LOOPBACK, "::": "::1"}
_libc = ctypes.CDLL(None) if sys.platform == "linux" else None


class ServerError(SpamPluginError):
    """The App's server did not start, or has ended; says where its log is."""


@dataclass(frozen=True)
class Wanted:
    """What the App shows, and where.

    Attributes:
        dataset: that is open; None for none.
        view: of it, that is open.
        address: to listen on.
        port: to listen on.
        worker: command of the process that does the jobs which the App schedules; None for none.
        logs: folder for what the processes say; it is made.

    Raises:
        InputError: for a port that is not there.
    """

    dataset: fo.Dataset | None = None
    view: fo.DatasetView | None = None
    address: str = LOOPBACK
    port: int = 5151
    worker: Sequence[str] | None = None
    logs: Path = field(default_factory=lambda: log_folder())

    def __post_init__(self) -> None:
        if not 0 < self.port < 65536:
            raise InputError(f"port {self.port} cannot be; choose one from 1 to 65535")

    @property
    def url(self) -> str:
        """Where a browser on this machine finds it."""
        host = _WILDCARDS.get(self.address, self.address)
        return f"http://{f'[{host}]' if ':' in host else host}:{self.port}"


@dataclass
class App:
    """A running App.

    Attributes:
        url: for a browser on this machine.
        server: the process that serves it.
        worker: the process that does its jobs, or None.
        log: file with what the server says.
    """

    url: str
    server: subprocess.Popen[bytes]
    worker: subprocess.Popen[bytes] | None
    log: Path

    def wait(self) -> Iterator[str]:
        """Waits for ever; yields what the user should know meanwhile.

        Raises:
            ServerError: if the server ends.
        """
        worker = self.worker
        while True:
            if (code := self.server.poll()) is not None:
                raise ServerError(f"the App's server has ended (exit code {code}); its log: {self.log}")
            if worker is not None and (code := worker.poll()) is not None:
                worker = None
                yield f"the worker has ended (exit code {code}): jobs wait until there is another, spam-plugin worker"
            time.sleep(_STEP)


def log_folder() -> Path:
    """Where the server and the worker say what they do: in the user's cache."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "spam-plugin" / "logs"


@contextmanager
def running(wanted: Wanted) -> Iterator[App]:
    """Starts the App, ready for a browser when the block begins; ends it, and its worker, with the block.

    Args:
        wanted: what it shows, and where.

    Raises:
        InputError: if the port is taken, or the address is not one of this machine's.
        ServerError: if the server does not start.
    """
    _check_free(wanted)
    try:
        wanted.logs.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{wanted.logs} cannot be made ({error.strerror}); set XDG_CACHE_HOME") from error
    log = wanted.logs / f"app-{wanted.port}.log"
    with ExitStack() as ends:
        command = [sys.executable, "-c", _SERVER.format(port=wanted.port, address=wanted.address)]
        server = ends.enter_context(_child(command, log, {"FIFTYONE_SERVER": "1"}))
        _until_it_answers(wanted, server, log)
        _show(wanted)
        worker = None
        if wanted.worker is not None:
            worker = ends.enter_context(_child(wanted.worker, wanted.logs / f"worker-{wanted.port}.log"))
        yield App(wanted.url, server, worker, log)


def spaces() -> fo.Space:
    """The samples, and our panel beside them."""
    panels = fo.Panel(type="Samples", pinned=True), fo.Panel(type=PANEL)
    tabs = [fo.Space(children=[panel], active_child=panel.component_id) for panel in panels]
    return fo.Space(children=tabs, orientation="horizontal", sizes=list(SHARES), active_child=tabs[0].component_id)


def colour(dataset: fo.Dataset) -> None:
    """One colour for each track, where the dataset has tracks and no colours of its own."""
    try:
        fields = Choices(dataset).track_fields
    except InputError:  # no videos; the panel says so
        return
    if fields:
        looking.colour_if_plain(dataset, fields[0])


def _check_free(wanted: Wanted) -> None:
    address, port = wanted.address, wanted.port
    try:
        family = socket.getaddrinfo(address, port, type=socket.SOCK_STREAM)[0][0]
    except socket.gaierror as error:
        raise InputError(f"--address {address}: no such address; leave it out for this machine alone") from error
    with socket.socket(family, socket.SOCK_STREAM) as trial:
        trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            trial.bind((address, port))
        except PermissionError as error:
            raise InputError(f"port {port} needs rights that you do not have; choose --port 5151 or higher") from error
        except OSError as error:
            if error.errno != 98 and "in use" not in str(error).lower():
                raise InputError(f"--address {address} is not one of this machine's; leave it out") from error
            raise InputError(
                f"port {port} is taken{_by_an_app(wanted)}; end what is there, or choose another one, e.g. --port "
                f"{_free_port(family, address, port + 1)}"
            ) from error


def _by_an_app(wanted: Wanted) -> str:
    try:
        version = requests.get(f"{wanted.url}/fiftyone", timeout=2).json()["version"]
    except (requests.RequestException, ValueError, KeyError, TypeError):
        return ""
    return f" by a FiftyOne App ({wanted.url}, version {version})"


def _free_port(family: int, address: str, start: int) -> int:
    for port in range(start, min(start + 100, 65536)):
        with socket.socket(family, socket.SOCK_STREAM) as trial:
            try:
                trial.bind((address, port))
            except OSError:
                continue
        return port
    return start


@contextmanager
def _child(
    command: Sequence[str], log: Path, more: Mapping[str, str] | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    """A process that hears no Ctrl-C, since we end it ourselves, and that does not outlive us."""
    environment = {**os.environ, "PYTHONUNBUFFERED": "1", "FIFTYONE_PLUGINS_DIR": str(plugins_folder()), **(more or {})}
    set_up(environment)
    with log.open("wb") as said:
        process = subprocess.Popen(
            list(command), stdin=subprocess.DEVNULL, stdout=said, stderr=subprocess.STDOUT, env=environment,
            start_new_session=True, preexec_fn=_end_with_the_parent if _libc is not None else None,
        )  # fmt: skip
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(_GRACE)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _end_with_the_parent() -> None:
    """Linux ends us should the parent be killed. It runs between fork and exec, so it does nothing else."""
    set_death_signal = 1  # PR_SET_PDEATHSIG of linux/prctl.h
    _libc.prctl(set_death_signal, signal.SIGTERM)  # type: ignore[union-attr]


def _until_it_answers(wanted: Wanted, server: subprocess.Popen[bytes], log: Path) -> None:
    end = time.monotonic() + _PATIENCE
    while time.monotonic() < end:
        if (code := server.poll()) is not None:
            raise ServerError(f"the App's server did not start (exit code {code}): {_last_words(log)}; its log: {log}")
        try:
            if requests.get(f"{wanted.url}/fiftyone", timeout=_PATIENCE).ok:
                return
        except requests.ConnectionError:
            time.sleep(_STEP)
    raise ServerError(f"the App's server did not answer within {_PATIENCE:.0f} s; its log: {log}")


def _last_words(log: Path) -> str:
    lines = log.read_text(errors="replace").strip().splitlines()
    return lines[-1].strip() if lines else "it said nothing"


def _show(wanted: Wanted) -> None:
    """Tells the server what is open, as a session of FiftyOne's would, which goes on to talk of lost connections."""
    dataset, view = wanted.dataset, wanted.view
    if dataset is not None:
        colour(dataset)
    config = fo.app_config.copy()
    state = StateDescription(
        dataset=dataset, view=view, view_name=view.name if view is not None else None,
        group_slice=dataset.group_slice if dataset is not None else None,
        spaces=spaces() if dataset is not None else None,
        color_scheme=build_color_scheme(None, dataset, config), config=config,
    )  # fmt: skip
    event = StateUpdate(state=state)
    body = {
        "event": event.get_event_name(), "data": asdict(event, dict_factory=dict_factory), "subscription": str(uuid4()),
    }  # fmt: skip
    answer = requests.post(
        f"{wanted.url}/event", data=json_util.dumps(body), headers={"Content-type": "application/json"}, timeout=60
    )
    if not answer.ok:
        raise ServerError(f"the App's server does not open {dataset.name if dataset is not None else 'at all'!r}")
