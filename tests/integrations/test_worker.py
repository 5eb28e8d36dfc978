"""The worker's loop in this process, over short programs that stand for the process of a job."""

from __future__ import annotations

import os
import signal
import sys
import threading
from contextlib import contextmanager

import pytest
from queued import clear, lives, queue, stub, until

# Writes its number and that of a process of its own, and ends when it is made to.
STUBBORN = """if True:
    import signal, subprocess, sys, time
    signal.signal(signal.SIGTERM, {on_term})
    below = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    print("this is", {job!r}, flush=True)
    with open({path!r} + ".new", "w") as file:
        file.write(f"{{os.getpid()}} {{below.pid}}")
    os.rename({path!r} + ".new", {path!r})
    time.sleep(600)
"""


@pytest.fixture
def jobs():
    from spam_plugin.integrations.fiftyone_ import jobs

    clear()
    yield jobs
    clear()


@pytest.fixture
def worker():
    from spam_plugin.integrations.fiftyone_ import worker

    return worker


@pytest.fixture
def dataset(new_dataset):
    return new_dataset()


@pytest.fixture
def stubborn(tmp_path):
    """A program that runs for ever, with a process below it; and the numbers of the two, when they are there."""
    path = tmp_path / "pids"

    def command(job, on_term="signal.SIG_DFL"):
        code = "import os\n" + STUBBORN.format(job=job, path=str(path), on_term=on_term)
        return [sys.executable, "-c", code]

    return command, lambda: [int(pid) for pid in until(path.exists) and path.read_text().split()]


@contextmanager
def working(worker, **options):
    """A worker in a thread; yields what it has told, and stops it in the end."""
    stop, told = worker.Stop(), []
    loop = worker.Loop(tell=told.append, stop=stop, every=0.1, **options)
    outcome = []
    thread = threading.Thread(target=lambda: outcome.append(loop.run()))
    thread.start()
    try:
        yield told
    finally:
        stop.asked = True
        thread.join()
    told.extend(outcome)


def test_the_oldest_job_runs_first_and_a_result_that_was_written_is_respected(jobs, worker, dataset, tmp_path):
    waiting = [queue(dataset, name) for name in ("first", "second", "third")]
    told, path = [], tmp_path / "order"
    outcome = worker.Loop(tell=told.append, command=stub(path, "two tracks")).run(once=True)
    assert path.read_text().split() == waiting
    assert outcome == (3, 0)
    assert [jobs.job(job).said for job in waiting] == ["two tracks"] * 3  # though the process exited with 7
    assert [line.split()[0] for line in told] == ["start", "done"] * 3
    assert told[1].endswith(": two tracks")
    assert all(line.split()[1] == job for line, job in zip(told[::2], waiting, strict=True))
    assert jobs.workers() == []


def test_a_process_that_ends_without_a_result_fails_its_job_alone(jobs, worker, dataset, tmp_path):
    waiting = [queue(dataset), queue(dataset)]
    outcome = worker.Loop(command=stub(tmp_path / "order")).run(once=True)
    assert outcome == (0, 2)
    for job in waiting:
        assert jobs.job(job).state == "failed"
        assert jobs.job(job).error.startswith("its process ended with exit code 7 and without a result; run it again")


def test_a_process_that_cannot_be_started_fails_its_job(jobs, worker, dataset):
    job = queue(dataset)
    assert worker.Loop(command=lambda _: ["/nowhere/python"]).run(once=True) == (0, 1)
    assert "could not be started" in jobs.job(job).error


def test_only_jobs_of_the_dataset_that_is_named_are_taken(jobs, worker, new_dataset, tmp_path):
    from spam_plugin.models.errors import MissingError

    street, yard = new_dataset(), new_dataset()
    queue(street)
    mine = queue(yard)
    worker.Loop(yard.name, command=stub(tmp_path / "order", "done")).run(once=True)
    assert (tmp_path / "order").read_text().split() == [mine]
    with pytest.raises(MissingError, match="there is no dataset 'nowhere'"):
        worker.supervise(dataset="nowhere")


def test_two_workers_run_every_job_exactly_once(jobs, worker, dataset, tmp_path):
    waiting = [queue(dataset) for _ in range(6)]
    path = tmp_path / "order"
    loops = [worker.Loop(command=stub(path, "done")) for _ in range(2)]
    outcomes = []
    threads = [threading.Thread(target=lambda one=loop: outcomes.append(one.run(once=True))) for loop in loops]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(path.read_text().split()) == sorted(waiting)
    assert sum(outcome.completed for outcome in outcomes) == 6
    assert {jobs.job(job).state for job in waiting} == {"completed"}


def test_a_killed_process_is_noticed_and_so_is_what_it_left_behind(jobs, worker, dataset, stubborn):
    command, pids = stubborn
    job = queue(dataset)
    with working(worker, command=command) as told:
        child, below = pids()
        os.kill(child, signal.SIGKILL)
        until(lambda: jobs.job(job).state == "failed")
        until(lambda: not lives(below))
        assert "killed (SIGKILL, exit code -9), as the system does when memory runs out" in jobs.job(job).error
        until(lambda: told[-1].startswith("failed"))
    assert told[-1] == (0, 1)


def test_a_cancelled_job_is_ended_with_all_its_processes_and_its_log_is_kept(jobs, worker, dataset, stubborn):
    command, pids = stubborn
    job = queue(dataset, "label tracks")
    with working(worker, command=lambda job: command(job, on_term="signal.SIG_IGN")) as told:
        child, below = pids()
        assert os.getsid(child) == child != os.getsid(0)
        until(lambda: "this is" in jobs.job_log(job))
        (living,) = jobs.workers()
        assert living.job == job
        assert "label tracks" in living.doing
        jobs.cancel(job, by="anna")
        until(lambda: not lives(child) and not lives(below))
        until(lambda: told[-1].startswith("failed"))
        assert told[-1].endswith("cancelled by anna")
    assert jobs.job(job).error == "cancelled by anna"
    assert jobs.job_log(job) == f"this is {job}\n"


def test_a_job_that_is_deleted_is_ended(jobs, worker, new_dataset, stubborn):
    command, pids = stubborn
    dataset = new_dataset()
    queue(dataset)
    with working(worker, command=command) as told:
        child, _ = pids()
        dataset.delete()
        until(lambda: not lives(child))
        until(lambda: told[-1].startswith("gone"))
    assert told[-1] == (0, 0)


def test_a_worker_that_is_stopped_ends_its_job_and_says_so(jobs, worker, dataset, stubborn):
    command, pids = stubborn
    job, waits = queue(dataset), queue(dataset)
    with working(worker, command=command):
        child, below = pids()
    assert not lives(child)
    assert not lives(below)
    assert jobs.job(job).error == "the worker was stopped; run it again: what was finished is kept"
    assert jobs.job(waits).state == "queued"
    assert jobs.workers() == []


def test_of_a_long_log_the_last_part_is_kept(jobs, worker, dataset):
    job = queue(dataset)
    code = "for line in range(20_000): print('line', line)\nprint('\\xe4\\xf6', end='')"
    worker.Loop(command=lambda _: [sys.executable, "-X", "utf8", "-c", code]).run(once=True)
    lines = jobs.job_log(job).splitlines()
    assert lines[-2:] == ["line 19999", "äö"]
    assert lines[0].startswith("line ")
    assert 60_000 < len(jobs.job_log(job).encode()) <= 64 << 10


def test_a_job_that_became_ours_while_the_database_failed_is_run(jobs, worker, dataset, tmp_path, monkeypatch):
    from fiftyone.operators.delegated import DelegatedOperationService
    from pymongo.errors import AutoReconnect

    job, told = queue(dataset), []
    claim, failed = DelegatedOperationService.set_running, []

    def set_running(self, *args, **options):
        taken = claim(self, *args, **options)
        if not failed:
            failed.append(True)
            raise AutoReconnect("gone for a moment")
        return taken

    monkeypatch.setattr(DelegatedOperationService, "set_running", set_running)
    outcome = worker.Loop(tell=told.append, command=stub(tmp_path / "order", "done")).run(once=True)
    assert outcome == (1, 0)
    assert jobs.job(job).state == "completed"
    assert "the database does not answer (AutoReconnect); tries again" in told[0]


def test_while_the_database_is_away_a_job_goes_on(jobs, worker, dataset, tmp_path, monkeypatch):
    from fiftyone.operators.delegated import DelegatedOperationService
    from pymongo.errors import AutoReconnect

    job, told = queue(dataset), []
    get, failed = DelegatedOperationService.get, []

    def flaky(self, *args, **options):
        if threading.current_thread() is threading.main_thread() and len(told) == 1 and not failed:
            failed.append(True)
            raise AutoReconnect("gone for a moment")
        return get(self, *args, **options)

    slow = [sys.executable, "-c", "import time; time.sleep(2)"]
    # The first look at the running job fails; the start has been told by then.
    monkeypatch.setattr(DelegatedOperationService, "get", flaky)
    assert worker.Loop(tell=told.append, command=lambda _: slow).run(once=True) == (0, 1)
    assert failed
    assert [line.split()[0] for line in told] == ["start", "waits", "failed"]
    assert "without a result" in jobs.job(job).error


def test_a_stop_is_heard_while_the_database_is_waited_for(worker, monkeypatch):
    from pymongo.errors import AutoReconnect

    stop = worker.Stop()

    def fail(*_):
        stop.asked = True
        raise AutoReconnect("gone")

    monkeypatch.setattr(worker.jobs, "settle_lost", fail)
    assert worker.Loop(stop=stop).run() == (0, 0)


def test_a_loop_that_fails_by_a_defect_is_started_again_and_what_it_ran_is_settled(
    jobs, worker, dataset, tmp_path, monkeypatch
):
    job, stop, told = queue(dataset), worker.Stop(), []
    watch, failed = worker.Loop._watch, []

    def broken(self, *args):
        if not failed:
            failed.append(True)
            raise RuntimeError("a defect")
        return watch(self, *args)

    def tell(line):
        told.append(line)
        stop.asked = "lost" in line

    monkeypatch.setattr(worker.Loop, "_watch", broken)
    worker.supervise(tell=tell, stop=stop, command=stub(tmp_path / "order", ""))
    assert any("the worker failed (RuntimeError: a defect); it starts again in 1 s" in line for line in told)
    assert told[-1].startswith(f"lost    {job}")
    assert jobs.job(job).state == "failed"
    failed.clear()
    jobs.run_again(job)
    with pytest.raises(RuntimeError, match="a defect"):
        worker.supervise(once=True, command=stub(tmp_path / "order", ""))
