"""Two people, or a job that was started twice: one works on a field, the other is told so, and nothing is half done."""

import os
import subprocess
import sys
import threading

import pytest

from spam_plugin.engine.desk.ports import DeskError
from spam_plugin.integrations.fiftyone_ import api
from spam_plugin.integrations.fiftyone_.journal import SyncJournal
from spam_plugin.integrations.fiftyone_.ledger import Ledger
from spam_plugin.plugin.operators.forms import sentence

QUIET = {"progress": False}
OUT = "spam_tracks"
SAME_PROCESS = (
    rf"process {os.getpid()} on .* works on field 'spam_tracks' of dataset '.*' since .*; it is this very process, for "
    "somebody else or for a job started twice; wait until it is done"
)


def contents(dataset):
    """All that labelling and asking may change."""
    dataset.reload()
    return (
        [sample.to_dict(include_frames=True) for sample in dataset.iter_samples()],
        list(dataset.get_frame_field_schema()), dataset.list_runs(), dataset.list_saved_views(),
    )  # fmt: skip


class Slow:
    """A model that waits, with its work begun, until it is let go."""

    def __init__(self, model):
        self._model, self.version = model, model.version
        self.begun, self.go = threading.Event(), threading.Event()

    def label(self, *args, **more):
        self.begun.set()
        assert self.go.wait(60)
        return self._model.label(*args, **more)


@pytest.fixture
def slow(world):
    made = Slow(world.Model("slow"))
    yield made
    made.go.set()


@pytest.fixture
def at_work(labelled, slow):
    """A dataset that somebody labels in a thread; call it for the end of that."""
    done = []
    thread = threading.Thread(target=lambda: done.append(api.label(labelled, model=slow, **QUIET)))
    thread.start()
    assert slow.begun.wait(60)

    def finish():
        slow.go.set()
        thread.join(60)
        return done

    yield labelled, finish
    finish()


@pytest.mark.parametrize(
    "second",
    [
        lambda dataset, model: api.label(dataset, model=model, **QUIET),
        lambda dataset, model: api.queries(dataset, model=model, **QUIET),
        lambda dataset, model: Ledger(dataset, OUT).refresh(),
    ],
    ids=["labelling", "asking", "counting"],
)
def test_who_comes_second_in_the_same_app_is_told_and_the_first_finishes(at_work, model, second):
    dataset, finish = at_work
    before = contents(dataset)
    with pytest.raises(DeskError, match=SAME_PROCESS) as refused:
        second(dataset, model)
    assert sentence(refused.value) == str(refused.value)  # which is what an operator shows
    assert contents(dataset) == before
    assert Ledger(dataset, OUT).busy == str(refused.value)
    assert Ledger(dataset, OUT).standing().stale is False  # somebody is about to put it right
    (report,) = finish()
    assert report.model_version == "slow"
    ledger = Ledger(dataset, OUT)
    assert (ledger.busy, ledger.standing().stale) == (None, False)
    assert ledger.rounds()[-1].model_version == "slow"
    second(dataset, model)


def test_another_field_may_be_labelled_meanwhile(at_work, world):
    dataset, finish = at_work
    assert api.label(dataset, model=world.Model(), out="other_tracks", **QUIET).videos[0].boxes == 6
    assert len(finish()) == 1


def test_answers_are_kept_while_somebody_labels(at_work):
    from spam_plugin.engine.answers import Answer, Box, Verdict

    dataset, finish = at_work
    said = Answer(dataset.first().id, Verdict.VALID, (Box(0, (10.0, 10.0, 30.0, 30.0)),))
    assert api.answer(dataset, [said]).new == 1
    assert Ledger(dataset, OUT).standing().clicks_spent == 1
    finish()
    assert Ledger(dataset, OUT).standing().clicks_spent == 1
    assert [one.kind for one in Ledger(dataset, OUT).rounds()] == ["label", "answers", "label"]


CHILD = """
import sys, time
import fiftyone as fo
from spam_plugin.integrations.fiftyone_.ledger import Ledger
with Ledger(fo.load_dataset(sys.argv[1]), "spam_tracks").hold():
    print("held", flush=True)
    time.sleep(600)
"""


@pytest.fixture
def other_process(labelled):
    """A process that is at work on the tracks of a dataset."""
    child = subprocess.Popen([sys.executable, "-c", CHILD, labelled.name], stdout=subprocess.PIPE, text=True)
    try:
        assert child.stdout.readline() == "held\n"
        yield child
    finally:
        child.kill()
        child.wait()
        child.stdout.close()


def test_another_process_is_named_and_what_it_left_when_it_died_is_taken_over(labelled, other_process, world):
    before = contents(labelled)
    told = rf"process {other_process.pid} on .* works on field 'spam_tracks'.*or end it \(kill {other_process.pid}\)"
    with pytest.raises(DeskError, match=told):
        api.label(labelled, model=world.Model("second"), **QUIET)
    with pytest.raises(DeskError, match=told):
        Ledger(labelled, OUT).refresh()
    assert contents(labelled) == before
    assert str(other_process.pid) in Ledger(labelled, OUT).busy
    other_process.kill()
    other_process.wait()
    api.label(labelled, model=world.Model("second"), **QUIET)
    assert Ledger(labelled, OUT).rounds()[-1].model_version == "second"


def test_of_two_processes_that_label_at_the_same_moment_one_does_it(video_dataset, world):
    """As when a job is started twice."""
    code = (
        "import sys, fiftyone as fo\n"
        "from spam_plugin.integrations.fiftyone_ import api\n"
        "from spam_plugin.models.spam import SpamModel\n"
        "from spam_plugin.plugin import cli\n"
        "print('ready', flush=True)\n"
        "sys.stdin.readline()\n"
        "cli.main(['-q', 'label', sys.argv[1], '--json'])\n"
    )
    frames = {t: [world.box(10 + t % 60, 10, 20, 20), world.box(60, 20, 10, 20)] for t in range(4)}
    dataset = video_dataset(**{f"v{number}": frames for number in range(30)})
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    both = [subprocess.Popen([sys.executable, "-c", code, dataset.name], **pipes) for _ in range(2)]
    assert [child.stdout.readline() for child in both] == ["ready\n"] * 2  # both have imported what takes long
    for child in both:
        child.stdin.write("\n")
        child.stdin.flush()
    ends = [(child.wait(120), child.stderr.read(), child.stdout.read()) for child in both]
    for child in both:
        for pipe in (child.stdin, child.stdout, child.stderr):
            pipe.close()
    codes = sorted(code for code, _, _ in ends)
    assert codes in ([0, 0], [0, 2]), ends  # one after the other, or one refused
    for code, error, _ in ends:
        if code:
            assert "works on field 'spam_tracks' of dataset" in error
    dataset.reload()
    standing = Ledger(dataset, OUT).standing()
    assert (standing.videos, standing.stale) == (30, False)
    assert standing.boxes == dataset.count(f"frames.{OUT}.detections")
    assert Ledger(dataset, OUT).refresh() == standing


def test_a_synchronisation_and_labelling_keep_out_of_each_others_way(at_work, world):
    dataset, finish = at_work
    with pytest.raises(DeskError, match="it is this very process"), SyncJournal(dataset, OUT).hold():
        pytest.fail("both held it")
    finish()
    with SyncJournal(dataset, OUT).hold(), pytest.raises(DeskError, match="it is this very process"):
        api.label(dataset, model=world.Model(), **QUIET)
