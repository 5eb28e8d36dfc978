from __future__ import annotations

import subprocess
import sys
from datetime import datetime, timedelta, timezone

import pytest
from queued import clear, queue

from spam_plugin.models.errors import InputError, MissingError

NOWHERE = "0123456789abcdef01234567"


@pytest.fixture
def jobs():
    from spam_plugin.integrations.fiftyone_ import jobs

    clear()
    yield jobs
    clear()


@pytest.fixture
def service():
    from fiftyone.operators.delegated import DelegatedOperationService

    return DelegatedOperationService()


@pytest.fixture
def dataset(new_dataset):
    return new_dataset()


@pytest.fixture
def claimed(service):
    """A function that makes a job a running one of a worker: of this process, but for what is given."""
    from bson import ObjectId

    from spam_plugin.integrations.fiftyone_.presence import Presence

    def claim(job, **differs):
        worker = Presence()
        worker._entry.update(differs)
        worker.beat("works", job)
        if "beat" in differs:
            worker._store.set(worker._key, {**worker._entry, **differs})
        service.set_running(ObjectId(job), run_link=worker.link, monitored=True)
        return worker

    return claim


@pytest.fixture
def dead_pid():
    """Number of a process that is no more."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def test_jobs_are_listed_newest_first_and_by_dataset(jobs, new_dataset):
    street, yard = new_dataset(), new_dataset()
    first, other, last = queue(street, "first"), queue(yard), queue(street, "last")
    assert [job.id for job in jobs.list_jobs()] == [last, other, first]
    assert [job.label for job in jobs.list_jobs(street)] == ["last", "first"]
    assert [job.id for job in jobs.list_jobs(yard.name)] == [other]
    assert [job.id for job in jobs.list_jobs(limit=1)] == [last]
    one = jobs.list_jobs(street)[0]
    assert (one.state, one.progress, one.doing, one.started, one.ended, one.error, one.worker) == (
        "queued", None, "waits for a worker", None, None, None, None,
    )  # fmt: skip
    assert one.operator == "@spam-plugin/tests/nothing"
    assert abs(datetime.now(timezone.utc) - one.queued) < timedelta(minutes=10)


def test_a_job_follows_its_dataset_to_another_name_and_goes_with_it(jobs, dataset):
    job = queue(dataset)
    dataset.name = f"{dataset.name}-renamed"
    assert jobs.job(job).dataset == dataset.name
    jobs.cancel(job)
    again = jobs.run_again(job)
    assert jobs.job(again).dataset == dataset.name
    dataset.delete()
    with pytest.raises(MissingError, match="there is no job"):
        jobs.job(again)


def test_a_job_that_may_not_be_run_again_is_not(jobs, dataset):
    from bson import ObjectId
    from fiftyone.core.odm import get_db_conn

    job = queue(dataset)
    jobs.cancel(job)
    get_db_conn().delegated_ops.update_one({"_id": ObjectId(job)}, {"$set": {"rerunnable": False}})
    with pytest.raises(InputError, match="does not allow"):
        jobs.run_again(job)
    assert len(jobs.list_jobs()) == 1


@pytest.mark.parametrize("id", [NOWHERE, "nonsense", ""])
def test_a_job_that_is_not_there_is_said_to_be_missing(jobs, id):
    for function in (jobs.job, jobs.job_log, jobs.cancel, jobs.mark_failed, jobs.run_again):
        with pytest.raises(MissingError, match="there is no job"):
            function(id)


def test_lists_that_cannot_be_are_refused(jobs):
    with pytest.raises(MissingError, match="there is no dataset 'nowhere'"):
        jobs.list_jobs("nowhere")
    with pytest.raises(InputError, match="0 jobs"):
        jobs.list_jobs(limit=0)


def test_a_running_job_tells_how_far_it_is_and_who_runs_it(jobs, dataset, service, claimed):
    from bson import ObjectId

    job = queue(dataset)
    worker = claimed(job)
    assert jobs.job(job).doing == "starting"
    service.set_progress(ObjectId(job), {"progress": 1.25, "label": "labelling: 3 of 4"})
    found = jobs.job(job)
    assert (found.state, found.progress, found.doing) == ("running", 1.0, "labelling: 3 of 4")
    (living,) = jobs.workers()
    assert found.worker == f"process {living.pid} on {living.host}"
    assert (living.doing, living.job) == ("works", job)
    worker.leave()
    assert jobs.workers() == []


def test_a_completed_job_says_what_came_out(jobs, dataset, service, claimed):
    from bson import ObjectId

    job = queue(dataset)
    claimed(job).leave()
    service.set_completed(ObjectId(job), {"said": "3 tracks"})
    found = jobs.job(job)
    assert (found.state, found.said, found.error, found.progress) == ("completed", "3 tracks", None, 1.0)
    assert found.queued <= found.started <= found.ended
    for refused, why in ((jobs.cancel, "completed already"), (jobs.mark_failed, "not running but completed")):
        with pytest.raises(InputError, match=why):
            refused(job)


def test_a_queued_job_is_cancelled_and_can_be_queued_again(jobs, dataset, service):
    job = queue(dataset, "again", field="candidates")
    with pytest.raises(InputError, match="cancel it first"):
        jobs.run_again(job)
    with pytest.raises(InputError, match="cancel it instead"):
        jobs.mark_failed(job)
    jobs.cancel(job, by="anna")
    assert (jobs.job(job).state, jobs.job(job).error) == ("failed", "cancelled by anna")
    with pytest.raises(InputError, match="failed already"):
        jobs.cancel(job)
    again = jobs.run_again(job)
    assert again != job
    assert (jobs.job(again).state, jobs.job(again).label, jobs.job(again).dataset) == ("queued", "again", dataset.name)
    from bson import ObjectId

    assert service.get(ObjectId(again)).context.request_params["params"] == {"field": "candidates"}


def test_who_cancels_is_the_user_of_the_process_unless_it_is_said(jobs, dataset, claimed):
    job = queue(dataset)
    claimed(job)
    jobs.mark_failed(job)
    assert jobs.job(job).error.startswith("marked as failed by ")
    assert jobs.job(job).error.endswith("run it again: what was finished is kept")


def test_a_job_whose_worker_died_is_lost_and_is_settled_once(jobs, dataset, claimed, dead_pid):
    lost, alive = queue(dataset), queue(dataset)
    claimed(lost, pid=dead_pid)
    claimed(alive)
    assert [job.id for job in jobs.find_lost()] == [lost]
    assert jobs.job(lost).state == "lost"
    assert f"its worker (process {dead_pid} on " in jobs.job(lost).error
    (settled,) = jobs.settle_lost()
    assert settled.id == lost
    found = jobs.job(lost)
    assert found.state == "failed"
    assert "died at 20" in found.error
    assert found.error.endswith("run it again: what was finished is kept")
    assert jobs.job(alive).state == "running"
    assert jobs.settle_lost() == []
    assert len(jobs.workers()) == 1


def test_the_number_of_a_dead_worker_may_belong_to_another_process_now(jobs, dataset, claimed):
    job = queue(dataset)
    claimed(job, started="another-boot/12345")
    assert jobs.job(job).state == "lost"


@pytest.mark.parametrize(("minutes", "state"), [(9, "running"), (11, "lost")])
def test_a_worker_on_another_machine_is_judged_by_its_signs_of_life(jobs, dataset, claimed, minutes, state):
    job = queue(dataset)
    claimed(job, host="elsewhere/pid:[1]", beat=datetime.now(timezone.utc).timestamp() - 60 * minutes)
    found = jobs.job(job)
    assert (found.state, "elsewhere" in found.worker) == (state, True)
    assert len(jobs.workers()) == (state == "running")


def test_a_worker_that_has_left_leaves_no_running_job(jobs, dataset, claimed):
    job = queue(dataset)
    claimed(job).leave()
    assert jobs.job(job).state == "lost"
    again = jobs.run_again(job)  # settles it, too
    assert (jobs.job(job).state, jobs.job(again).state) == ("failed", "queued")


@pytest.mark.parametrize(
    ("monitored", "minutes", "state"), [(True, 9, "running"), (True, 11, "lost"), (False, 1000, "running")]
)
def test_a_job_of_fiftyones_own_worker_is_lost_only_if_somebody_watched_over_it(
    jobs, dataset, service, monitored, minutes, state
):
    from bson import ObjectId
    from fiftyone.core.odm import get_db_conn

    job = queue(dataset)
    service.set_running(ObjectId(job), monitored=monitored)
    seen = datetime.now(timezone.utc) - timedelta(minutes=minutes)
    get_db_conn().delegated_ops.update_one({"_id": ObjectId(job)}, {"$set": {"updated_at": seen}})
    found = jobs.job(job)
    assert (found.state, found.worker) == (state, None)
    assert ("no sign of life since 20" in (found.error or "")) == (state == "lost")


def raised(error):
    """The traceback of an error, as FiftyOne keeps it."""
    import traceback

    try:
        raise error
    except type(error):
        return traceback.format_exc()


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (InputError("video 'a' has no frames;\ngive it some"), "video 'a' has no frames; give it some"),
        (ValueError("no: such thing"), "unexpected error: ValueError: no: such thing; see the log"),
        (ValueError("two\n  lines"), "unexpected error: ValueError: two lines; see the log"),
        (AssertionError(), "unexpected error: AssertionError; see the log"),
    ],
    ids=["ours", "a defect", "of two lines", "without words"],
)
def test_of_a_traceback_the_sentence_is_told(jobs, error, said):
    assert jobs.sentence(raised(error)) == said


def test_errors_of_the_database_and_of_fiftyone_are_put_into_words(jobs):
    from fiftyone.operators.executor import ExecutionError
    from pymongo.errors import AutoReconnect

    assert jobs.sentence(raised(AutoReconnect("10.0.0.1: closed"))).startswith("the database did not answer")
    assert jobs.sentence(raised(ExecutionError("Operator '@a/b/c' not found"))) == "Operator '@a/b/c' not found"


def test_what_fiftyone_marked_as_failed_without_a_word_is_put_into_words(jobs, dataset, service):
    from bson import ObjectId

    job = queue(dataset)
    service.set_failed(ObjectId(job))
    assert jobs.job(job).error == "marked as failed by hand"
    assert jobs.job_log(job) == ""


def test_without_a_log_of_ours_the_traceback_is_shown(jobs, dataset, service):
    from bson import ObjectId
    from fiftyone.operators.executor import ExecutionResult

    job = queue(dataset)
    service.set_failed(ObjectId(job), ExecutionResult(error=raised(ValueError("here"))))
    assert "Traceback" in jobs.job_log(job)
    assert jobs.job(job).error == "unexpected error: ValueError: here; see the log"


def test_a_job_in_no_known_state_cannot_be(jobs):
    fields = dict.fromkeys(jobs.Job.__dataclass_fields__)
    with pytest.raises(ValueError, match="no such state"):
        jobs.Job(**{**fields, "id": "1", "state": "lazy"})
    with pytest.raises(ValueError, match="no share"):
        jobs.Job(**{**fields, "id": "1", "state": "running", "progress": 2.0})
