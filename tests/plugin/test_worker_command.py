"""``spam-plugin worker`` as a process, over operators that FiftyOne finds among its plugins."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import pytest
from queued import clear, lives, until

WORKER = [sys.executable, "-c", "from spam_plugin.plugin.cli import main; main()", "worker"]
URI = "@spam-plugin-tests/jobs/wait_for_it"
YAML = """
name: "@spam-plugin-tests/jobs"
operators:
  - wait_for_it
"""
ENTRY = '''
import logging, os, time
from pathlib import Path
import fiftyone.operators as foo

class Wait(foo.Operator):
    """Says which process it is, then waits until a file is there; fails if it is told to."""

    @property
    def config(self):
        return foo.OperatorConfig(name="wait_for_it", label="Wait", allow_delegated_execution=True)

    def execute(self, ctx):
        from spam_plugin.models.errors import InputError

        print("waits for", ctx.params.get("file"))
        logging.getLogger("spam_plugin.test").info("a line of the log")
        ctx.set_progress(0.5, "half of it")
        if ctx.params.get("fail"):
            raise InputError("video 'a' cannot be read; mend it")
        file = ctx.params.get("file")
        if file:
            Path(file + ".pid").write_text(str(os.getpid()))
            while not Path(file).exists():
                time.sleep(0.1)
        return {"said": f"{ctx.dataset.count()} videos"}

def register(p):
    p.register(Wait)
'''


@pytest.fixture
def jobs():
    from spam_plugin.integrations.fiftyone_ import jobs

    folder = Path(os.environ["FIFTYONE_PLUGINS_DIR"]) / "jobs-test"
    folder.mkdir(parents=True)
    (folder / "fiftyone.yml").write_text(YAML)
    (folder / "__init__.py").write_text(ENTRY)
    clear()
    yield jobs
    clear()
    for path in sorted(folder.rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    folder.rmdir()


@pytest.fixture
def schedule(jobs):
    """A function that schedules the operator as the App does, on a dataset without videos."""
    import fiftyone as fo
    import fiftyone.operators as foo

    dataset = fo.Dataset()
    dataset.media_type = "video"

    def schedule(**params):
        asked = foo.execute_operator(URI, ctx={"dataset": dataset}, params=params, request_delegation=True)
        return str(asked.result["id"])

    yield schedule
    dataset.delete()


@contextmanager
def worker(*options):
    """A worker as a process; killed in the end, if it still is there."""
    process = subprocess.Popen([*WORKER, *options], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def test_with_once_all_that_waits_is_done_and_the_exit_code_says_that_one_job_failed(jobs, schedule):
    good, bad = schedule(), schedule(fail=True)
    done = subprocess.run([*WORKER, "--once"], capture_output=True, text=True)
    assert done.returncode == 3, done.stderr
    lines = [re.sub(r"^\d\d:\d\d:\d\d |\(\d+ s\)", "", line) for line in done.stdout.splitlines()]
    name = jobs.job(good).dataset
    assert lines == [
        f"start   {good} wait for it, dataset {name}",
        f"done    {good} wait for it, dataset {name} : 0 videos",
        f"start   {bad} wait for it, dataset {name}",
        f"failed  {bad} wait for it, dataset {name} : video 'a' cannot be read; mend it",
    ]
    told = jobs.job(good)
    assert (told.state, told.said, told.progress) == ("completed", "0 videos", 1.0)
    assert "waits for None" in jobs.job_log(good)
    assert "a line of the log" in jobs.job_log(good)
    told = jobs.job(bad)
    assert (told.state, told.error) == ("failed", "video 'a' cannot be read; mend it")
    assert "Traceback" in jobs.job_log(bad)


def test_after_a_killed_worker_its_job_is_settled_and_runs_again_until_a_signal_stops_that(jobs, schedule, tmp_path):
    file = tmp_path / "go"
    job = schedule(file=str(file))
    pid = Path(f"{file}.pid")
    with worker() as first:
        child = int(until(lambda: pid.exists() and pid.read_text()))
        assert (jobs.job(job).state, jobs.job(job).progress, jobs.job(job).doing) == ("running", 0.5, "half of it")
        assert jobs.workers()[0].pid == first.pid
        first.send_signal(signal.SIGKILL)
        first.wait()
    until(lambda: not lives(child))  # it does not outlive its worker
    assert [lost.id for lost in jobs.find_lost()] == [job]
    assert jobs.workers() == []
    again = None
    pid.unlink()
    with worker() as second:
        until(lambda: jobs.job(job).state == "failed")
        assert re.search(rf"process {first.pid} on \S+\) died at .*; run it again", jobs.job(job).error)
        again = jobs.run_again(job)
        child = int(until(lambda: pid.exists() and pid.read_text()))
        file.touch()
        until(lambda: jobs.job(again).state == "completed")
        file.unlink()
        pid.unlink()
        last = schedule(file=str(file))
        child = int(until(lambda: pid.exists() and pid.read_text()))
        second.send_signal(signal.SIGTERM)
        stdout, _ = second.communicate()
        assert second.returncode == 0
    assert not lives(child)
    assert jobs.job(last).error == "the worker was stopped; run it again: what was finished is kept"
    assert [line.split()[1] for line in stdout.splitlines()] == ["lost", "start", "done", "start", "failed"]


def test_an_interrupt_ends_a_worker_with_130_and_leaves_what_waits(jobs):
    with worker("--every", "0.2") as process:
        until(jobs.workers)
        process.send_signal(signal.SIGINT)
        _, stderr = process.communicate()
        assert process.returncode == 130
    assert "interrupted" in stderr
    assert jobs.workers() == []


def test_a_dataset_that_is_not_there_is_said_in_one_line(capsys):
    from spam_plugin.plugin import cli

    with pytest.raises(SystemExit) as stop:
        cli.main(["worker", "--once", "--dataset", "nowhere"])
    assert stop.value.code == 2
    assert "error: there is no dataset 'nowhere'" in capsys.readouterr().err
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
