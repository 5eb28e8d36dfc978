"""``spam-plugin sync --watch`` and ``spam-plugin webhook``: commands that go on until they are stopped."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
from types import SimpleNamespace

import pytest
from cvat_reviewer.data import read_tracks
from cvat_reviewer.hand import Hand, uid_of

ALL = ("--all", "--job-seconds", "2", "--overlap-seconds", "0")


def note_of_runs(tmp_path) -> tuple[str, object]:
    """A command that says in a file, and on standard output, that it was run."""
    file = tmp_path / "runs"
    script = tmp_path / "script.py"
    script.write_text(f"open({str(file)!r}, 'a').write('x')\nprint('noise')\n")
    return f"{sys.executable} {script}", file


def test_a_command_is_run_whenever_so_many_answers_have_come(monkeypatch, tmp_path, capfd):
    from spam_plugin.engine.desk.context import SyncReport
    from spam_plugin.integrations.cvat import sync as module
    from spam_plugin.plugin.commands.sync import follow

    command, file = note_of_runs(tmp_path)

    def watch(link, settings, *, every, on_report, on_trouble, **more):
        on_trouble(OSError("away"))
        for count in (2, 2, 0, 1, 3, 9):
            on_report(SyncReport(counts={"answers": count} if count else {}))

    monkeypatch.setattr(module, "watch", watch)
    follow(None, None, {"every": 5.0, "after": 4, "run": command, "as_json": True}, quiet=False)
    said = capfd.readouterr()
    assert file.read_text() == "xxx", "after 4, after 4 more, and after 9"
    assert [json.loads(line)["counts"].get("answers", 0) for line in said.out.splitlines()] == [2, 2, 0, 1, 3, 9]
    assert said.err.count("noise") == 3
    assert said.err.count(": exit code 0") == 3
    assert "looking every 5 s" in said.err
    assert "warning: away; will look again in 5 s" in said.err


def start(*args: object) -> SimpleNamespace:
    """A process of the command line, with what it says on standard error, line by line."""
    process = subprocess.Popen(
        [sys.executable, "-c", "from spam_plugin.plugin.cli import main; main()", *map(str, args)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=dict(os.environ),
        # a shell that starts the tests in the background has told them to ignore it
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )  # fmt: skip
    guard = threading.Timer(120, process.kill)
    guard.start()

    def until(words: str) -> str:
        said = ""
        for line in process.stderr:
            said += line
            if words in line:
                return said
        raise AssertionError(f"it never said {words!r}, but:\n{said}")

    def end() -> tuple[int, str, str]:
        process.send_signal(signal.SIGINT)
        out, err = process.communicate()
        guard.cancel()
        return process.returncode, out, err

    return SimpleNamespace(until=until, end=end)


def test_watching_goes_on_until_it_is_interrupted(run, server, street, api, tmp_path):
    command, file = note_of_runs(tmp_path)
    run("sync", "street", *ALL)
    seen = start("sync", "street", *ALL, "--watch", "--every", 0.1, "--after", 1, "--run", command)
    seen.until("done (project 1")
    hand = Hand(api, api.jobs()[0])
    hand.move(uid_of(street.dataset, street.video, 1), 10, dy=30.0)
    hand.done()
    said = seen.until(": exit code 0")
    assert "jobs pulled: 1" in said
    code, _, err = seen.end()
    assert code == 130
    assert "Traceback" not in err
    assert file.read_text() == "x"
    assert "human" in {box["source"] for box in read_tracks(street.dataset, street.video)}


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        return free.getsockname()[1]


def test_webhook_needs_a_secret_and_a_project(run, server, street):
    code, _, err = run("webhook", "street")
    assert code == 2
    assert "run spam-plugin sync first" in err
    run("sync", "street", *ALL)
    code, _, err = run("webhook", "street")
    assert code == 2
    assert "set CVAT_WEBHOOK_SECRET" in err


def test_webhook_says_that_a_port_is_in_use_before_it_does_anything(run, street, nobody, everything):
    run("sync", "street", *ALL)
    nobody.setenv("CVAT_WEBHOOK_SECRET", "known-to-two")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        before = everything()
        code, out, err = run("webhook", "street", *ALL, "--port", taken.getsockname()[1])
    assert (code, out) == (2, "")
    assert "cannot listen on 127.0.0.1:" in err
    assert "choose another --port" in err
    assert everything() == before


def test_webhook_registers_itself_listens_here_only_and_brings_back_what_is_finished(run, server, street, api, nobody):
    run("sync", "street", *ALL)
    nobody.setenv("CVAT_WEBHOOK_SECRET", "known-to-two")
    port = free_port()
    seen = start("webhook", "street", *ALL, "--port", port, "--register", f"http://127.0.0.1:{port}/")
    said = seen.until("done (project 1")
    assert f"of project 1 calls http://127.0.0.1:{port}/" in said
    assert f"listening on 127.0.0.1:{port}" in said
    with pytest.raises(ConnectionRefusedError), socket.create_connection(("127.0.0.2", port), timeout=10):
        pass  # an address of this machine, too: whoever listens on all of them answers here
    hand = Hand(api, api.jobs()[0])
    hand.move(uid_of(street.dataset, street.video, 1), 10, dy=30.0)
    hand.done()
    assert "jobs pulled: 1" in seen.until("done (project 1")
    code, out, err = seen.end()
    assert code == 130
    assert "known-to-two" not in said + out + err
    assert server.token_for(server.username) not in said + out + err
