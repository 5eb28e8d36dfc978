"""``spam-plugin app``: a real server, started and ended as a person does it, and what is said when it cannot be."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import fiftyone as fo
import psutil
import pytest
import requests

from spam_plugin.integrations.fiftyone_ import app as engine
from spam_plugin.integrations.fiftyone_ import linking, looking
from spam_plugin.plugin.commands import app

LONG = 120  # seconds that nothing takes; a test that waits for it has failed


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        return free.getsockname()[1]


@pytest.fixture
def plugins(tmp_path, monkeypatch):
    """Folders of the test's own, for this process and those that it starts."""
    folder = tmp_path / "plugins"
    monkeypatch.setattr(fo.config, "plugins_dir", str(folder))
    monkeypatch.setenv("FIFTYONE_PLUGINS_DIR", str(folder))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return folder


@pytest.fixture
def start(plugins):
    """Starts the command as a process and waits until it says that the App is up."""
    started = []

    def call(*args: object) -> SimpleNamespace:
        process = subprocess.Popen(
            [sys.executable, "-c", "from spam_plugin.plugin.cli import main; main()", "app", "--json", *map(str, args)],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=dict(os.environ),
            # a shell that starts the tests in the background has told them to ignore it
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )  # fmt: skip
        started.append(process)
        guard = threading.Timer(LONG, process.kill)
        guard.daemon = True
        guard.start()
        line = process.stdout.readline()
        assert line, process.stderr.read()
        return SimpleNamespace(process=process, **json.loads(line))

    yield call
    for process in started:
        process.kill()
        process.wait()


@pytest.fixture
def dataset():
    dataset = fo.Dataset("app-command", overwrite=True, persistent=True)
    dataset.add_samples([fo.Sample("/nowhere/a.mp4"), fo.Sample("/nowhere/b.mp4")])
    dataset.save_view("first", dataset.limit(1))
    yield dataset
    dataset.delete()


def state_of(url: str) -> dict:
    """What a browser that connects now is told to show."""
    body = {"initializer": {}, "events": ["state_update"], "subscription": "a browser", "polling": True}
    answer = requests.post(f"{url}/events", json=body, timeout=LONG)
    return next(one["data"] for one in answer.json()["events"] if one["event"] == "state_update")["state"]


def until_gone(*pids: int) -> None:
    """Waits for the end of processes; a zombie has ended."""
    end = time.monotonic() + LONG
    while any(psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE for pid in pids):
        assert time.monotonic() < end, f"one of {pids} goes on"
        time.sleep(0.1)


def test_the_app_opens_the_dataset_with_our_panel_beside_the_samples_and_ctrl_c_ends_all(start, plugins, dataset):
    up = start("app-command", "--view", "first", "--port", free_port())
    assert up.url.startswith("http://127.0.0.1:")
    assert up.pid == up.process.pid
    told = requests.post(f"{up.url}/operators", json={}, timeout=LONG).json()
    assert told["errors"] == []
    assert {"@spam-plugin/spam/label_tracks", "@spam-plugin/spam/spam_panel"} <= {
        one["uri"] for one in told["operators"]
    }
    state = state_of(up.url)
    assert state["dataset"] == "app-command"
    assert state["view_name"] == "first"
    tabs = state["spaces"]["children"]
    assert [tab["children"][0]["type"] for tab in tabs] == ["Samples", "spam_panel"]
    assert [tab["active_child"] for tab in tabs] == [tab["children"][0]["component_id"] for tab in tabs]
    server, worker = psutil.Process(up.server), psutil.Process(up.worker)
    assert "worker" in " ".join(worker.cmdline())
    listening = {one.laddr.ip for one in server.net_connections("tcp") if one.status == psutil.CONN_LISTEN}
    assert listening == {"127.0.0.1"}
    assert server.environ()["FIFTYONE_ALLOW_LEGACY_ORCHESTRATORS"] == "true"
    assert server.environ()["FIFTYONE_PLUGINS_CACHE_ENABLED"] == "true"
    up.process.send_signal(signal.SIGINT)
    _, said = up.process.communicate(timeout=LONG)
    assert up.process.returncode == 0, said
    assert "Traceback" not in said
    assert "warning" not in said
    until_gone(up.server, up.worker)


def test_without_a_dataset_the_app_opens_on_none_and_those_there_are_are_named(start, dataset):
    up = start("--port", free_port(), "--no-worker")
    assert up.worker is None
    assert state_of(up.url).get("dataset") is None
    up.process.terminate()
    _, said = up.process.communicate(timeout=LONG)
    assert up.process.returncode == 0
    assert re.search(r"no dataset is named; there are: .*'app-command'", said)
    until_gone(up.server)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux ends the children of a process that was killed")
def test_server_and_worker_do_not_outlive_a_command_that_is_killed(start, dataset):
    up = start("app-command", "--port", free_port())
    up.process.kill()
    until_gone(up.server, up.worker)


def test_a_server_that_is_gone_ends_the_command_with_a_sentence(start, dataset):
    up = start("app-command", "--port", free_port(), "--no-worker")
    os.kill(up.server, signal.SIGKILL)
    _, said = up.process.communicate(timeout=LONG)
    assert up.process.returncode == 2
    assert "error: the App's server has ended (exit code -9); its log: " in said
    assert "Traceback" not in said


def test_a_port_that_is_taken_is_told_with_one_that_is_free(spam, plugins, dataset):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        code, out, err = spam("app", "app-command", "--port", port, "--no-browser")
    assert code == 2
    assert out == ""
    assert f"error: port {port} is taken; end what is there, or choose another one, e.g. --port " in err


@pytest.mark.parametrize("name", ["no-such-host.invalid", "192.0.2.1"])
def test_an_address_that_is_not_of_this_machine_is_told(spam, plugins, dataset, name):
    code, _, err = spam("app", "app-command", "--address", name, "--port", free_port(), "--no-browser")
    assert code == 2
    assert f"error: --address {name}" in err
    assert f"warning: the App has no log-in: whoever reaches {name} can see and change all datasets" in err


def test_what_is_not_there_is_named_with_what_there_is(spam, plugins, dataset):
    code, _, err = spam("app", "app-comand")
    assert code == 2
    assert re.search(r"there is no dataset 'app-comand'; there are: .*'app-command'", err)
    code, _, err = spam("app", "app-command", "--view", "frist")
    assert (code, "has no saved view 'frist'; it has: 'first'" in err) == (2, True)
    code, _, err = spam("app", "--view", "first")
    assert (code, "--view needs the dataset" in err) == (2, True)
    assert not plugins.exists()


def test_a_server_that_does_not_start_says_why_and_where_its_log_is(spam, plugins, dataset, monkeypatch):
    monkeypatch.setattr(engine, "_SERVER", "print('first words'); raise SystemExit('no memory left {port} {address}')")
    code, _, err = spam("app", "app-command", "--port", free_port(), "--no-worker", "--no-browser")
    assert code == 2
    assert "the App's server did not start (exit code 1): no memory left" in err
    log = Path(err.rpartition("its log: ")[2].strip())
    assert log.read_text().startswith("first words")


def test_a_worker_that_ends_is_told_and_the_app_goes_on(plugins, monkeypatch):
    server = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    worker = subprocess.Popen([sys.executable, "-c", "raise SystemExit(7)"])
    try:
        said = engine.App("http://127.0.0.1:1", server, worker, Path("log")).wait()
        assert "the worker has ended (exit code 7)" in next(said)
        server.kill()
        with pytest.raises(engine.ServerError, match="has ended"):
            next(said)
    finally:
        server.kill()
        server.wait()


def test_each_track_gets_a_colour_unless_the_dataset_has_colours_of_its_own(dataset, monkeypatch):
    from spam_plugin.integrations.fiftyone_.fields import OWNER

    coloured = []
    monkeypatch.setattr(looking, "colour_by_track", lambda dataset, field: coloured.append(field))
    engine.colour(dataset)
    assert coloured == []
    dataset.add_frame_field("spam_tracks", fo.EmbeddedDocumentField, embedded_doc_type=fo.Detections)
    field = dataset.get_field("frames.spam_tracks")
    field.info = {OWNER: "spam_tracks"}
    field.save()
    engine.colour(dataset)
    assert coloured == ["spam_tracks"]
    dataset.app_config.color_scheme = fo.ColorScheme(color_by="field")
    engine.colour(dataset)
    assert coloured == ["spam_tracks"]


def test_a_person_is_told_where_the_app_is_and_a_browser_is_opened_unless_it_is_elsewhere(
    plugins, dataset, monkeypatch, capsys
):
    from contextlib import contextmanager

    wanted, opened = [], []

    class Up(engine.App):
        def wait(self):
            yield "something to know"
            raise KeyboardInterrupt

    @contextmanager
    def running(asked):
        wanted.append(asked)
        yield Up(asked.url, SimpleNamespace(pid=1), None, Path("the.log"))

    monkeypatch.setattr(engine, "running", running)
    monkeypatch.setattr(app.webbrowser, "open", lambda url, new: opened.append(url))
    app.open_app(dataset, 5999)
    said = capsys.readouterr().err
    assert "the App is at http://127.0.0.1:5999; press Ctrl-C here to end it" in said
    assert "warning: something to know" in said
    assert opened == ["http://127.0.0.1:5999"]
    assert wanted[0].worker == app.WORKER
    app.open_app(dataset.load_saved_view("first"), 5999, remote=True, no_worker=True)
    assert "ssh -N -L 5999:127.0.0.1:5999 USER@THIS-MACHINE" in capsys.readouterr().err
    assert opened == ["http://127.0.0.1:5999"]
    assert (wanted[1].dataset.name, wanted[1].view.name, wanted[1].worker) == ("app-command", "first", None)


def test_what_is_reachable_is_warned_of_with_the_way_to_mend_it(tmp_path):
    (tmp_path / ".env").write_text("x")
    linked = linking.Linked(tmp_path, enabled=False)
    disabled, exposed, open_to_all = app.warnings(linked, "0.0.0.0")
    assert "fiftyone plugins enable" in disabled
    assert f"read all of {tmp_path}, e.g. .env" in exposed
    assert "--remote" in open_to_all
    assert app.warnings(linking.Linked(tmp_path / "nothing"), "127.0.0.1") == []


@pytest.mark.parametrize(
    ("address", "url"),
    [("127.0.0.1", "http://127.0.0.1:5151"), ("0.0.0.0", "http://127.0.0.1:5151"), ("::1", "http://[::1]:5151")],
)
def test_the_url_is_one_that_a_browser_here_can_open(address, url):
    assert engine.Wanted(address=address).url == url
