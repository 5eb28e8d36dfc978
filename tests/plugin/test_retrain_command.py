"""``spam-plugin retrain`` and ``run``, and retraining that starts by itself: options, reports, exit codes, a kill."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from types import SimpleNamespace

import pytest
from learning_world import stream_dataset

from spam_plugin.models.errors import InputError


@pytest.fixture
def report(monkeypatch):
    """What ``retrain`` was called with, in place of a training, and what it answers."""
    from spam_plugin.engine.promotion import Verdict
    from spam_plugin.engine.retraining import RetrainReport
    from spam_plugin.engine.versions import Version
    from spam_plugin.integrations.fiftyone_ import learning

    version = Version("v007", verdict=Verdict(False, "kept, not used, as it is worse"))
    lessons = {"human": 12, "human_boxes": 3, "confident": 4000, "masked": 500, "candidates": 5000, "boxes": 9}
    curve = [{"step": 1.0, "lessons": 2.5, "learning_rate": 0.1}, {"step": 9.0, "lessons": 1.25, "learning_rate": 0.0}]
    told = RetrainReport(
        version, "default", False, False, lessons, {"human": 4.0, "confident": 1.0}, 40, 3,
        {"hierarchy": {"steps": 9, "curve": curve}}, {"detector": "the media cannot be read"}, ("one video",),
    )  # fmt: skip
    calls = []

    def retrain(dataset, *, settings, **rest):
        calls.append((dataset, settings, rest))
        return [told]

    monkeypatch.setattr(learning, "retrain", retrain)
    return calls


def test_the_report_says_what_was_learnt_from_how_and_what_the_gate_says(spam, report):
    code, out, err = spam("retrain", "street")
    assert code == 0
    assert (
        "12 candidates and 3 boxes that people spoke of (weight 4), 4,000 candidates that the model is sure of" in out
    )
    assert "500 not counted; 40 answers held out" in out
    assert "hierarchy: 9 steps, lessons 2.500 to 1.250" in out
    assert "version v007 stands on the shelf and is not used: kept, not used, as it is worse" in out
    assert "detector was not trained: the media cannot be read" in err
    assert "note: one video" in err


def test_options_become_settings(spam, report):
    code, out, _ = spam(
        "retrain", "street", "--parts", "hierarchy, detector", "--steps", "5", "--self-training", "--use", "--rounds",
        "2", "--seed", "3", "--json",
    )  # fmt: skip
    assert code == 0
    assert json.loads(out)[0]["version"]["name"] == "v007"
    ((dataset, settings, rest),) = report
    assert dataset == "street"
    assert (settings.parts, settings.seed, settings.self_training) == (("detector", "hierarchy"), 3, True)
    assert settings.steps == {"detector": 5, "appearance": 5, "hierarchy": 5}
    assert (rest["use"], rest["rounds"], rest["candidates"]) == (True, 2, "candidates")
    spam("retrain", "street")
    assert report[-1][2]["use"] is None


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--parts", "wheel"], "no part 'wheel' to retrain"), (["--steps", "many"], "write 200, or hierarchy=200"),
        (["--steps", "wheel=3"], "write 200, or hierarchy=200"), (["--share", "2"], "held out is 2.0"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_said_in_one_line(spam, report, words, said):
    code, _, err = spam("retrain", "street", *words)
    assert code == 2
    assert said in err
    assert report == []


def test_steps_may_differ_from_part_to_part():
    from spam_plugin.plugin.commands.retrain import training_steps

    assert training_steps("200,detector=500") == {"detector": 500, "appearance": 200, "hierarchy": 200}
    assert training_steps(None) == {}
    with pytest.raises(InputError):
        training_steps("0")


# --- retraining that starts by itself


@pytest.fixture
def told(monkeypatch):
    """A trigger for a dataset of so many new answers, and what it starts: a process that ends at once."""
    from spam_plugin.integrations.fiftyone_ import dataset, retrainings
    from spam_plugin.plugin.trigger import RetrainTrigger

    known = SimpleNamespace(new=0, busy=None, lines=[])
    monkeypatch.setattr(dataset, "open_dataset", lambda name: name)
    monkeypatch.setattr(retrainings, "last_labelling", lambda opened, out: ("boxes", "default"))
    monkeypatch.setattr(
        retrainings, "Learning", lambda opened, out: SimpleNamespace(new_answers=lambda: known.new, busy=known.busy)
    )
    command = [sys.executable, "-c", "import sys; print(sys.argv[1:], file=sys.stderr); sys.exit(3)"]
    known.trigger = RetrainTrigger("street", "spam_tracks", 10, known.lines.append, command)
    return known


def test_retraining_starts_when_enough_answers_are_new_and_tells_how_it_ended(told, capfd):
    told.new = 9
    assert not told.trigger.look()
    told.new = 12
    assert told.trigger.look()
    told.trigger.join(60)
    assert told.lines == ["12 new answers: retraining in the background", "retraining: exit code 3"]
    words = "['-q', 'retrain', 'street', '--out', 'spam_tracks', '--candidates', 'boxes', '--embeddings', 'default']"
    assert words in capfd.readouterr().err


def test_one_that_failed_is_not_tried_again_for_the_same_answers(told):
    told.new = 12
    assert told.trigger.look()
    told.trigger.join(60)
    told.new = 21
    assert not told.trigger.look()
    told.new = 22
    assert told.trigger.look()
    told.trigger.join(60)
    told.new = 10  # a version was made, and ten more have come since
    assert told.trigger.look()
    told.trigger.join(60)


def test_it_is_never_started_twice_whoever_started_the_first(told):
    from spam_plugin.plugin.trigger import RetrainTrigger

    told.new, told.busy = 50, "process 7 retrains"
    assert not told.trigger.look()
    told.busy = None
    told.trigger = RetrainTrigger(
        "street", "spam_tracks", 10, told.lines.append, [sys.executable, "-c", "import time; time.sleep(60)"]
    )
    assert told.trigger.look()
    told.new = 500
    assert told.trigger.is_running
    assert not told.trigger.look()
    told.trigger._process.kill()
    told.trigger.join(60)


def test_watching_starts_it_after_every_synchronisation(monkeypatch, told):
    from spam_plugin.engine.desk.context import SyncReport
    from spam_plugin.integrations.cvat import sync as module
    from spam_plugin.plugin import trigger
    from spam_plugin.plugin.commands.sync import follow

    looks = []
    monkeypatch.setattr(trigger, "RetrainTrigger", lambda *given: SimpleNamespace(look=lambda: looks.append(given[:3])))

    def watch(link, settings, *, on_report, **more):
        on_report(SyncReport(counts={"answers": 2}))
        on_report(SyncReport())

    monkeypatch.setattr(module, "watch", watch)
    link = SimpleNamespace(collection=lambda: SimpleNamespace(_dataset=SimpleNamespace(name="street")), tracks="mine")
    follow(link, None, {"every": 5.0, "retrain_after": 7}, quiet=True)
    assert looks == [("street", "mine", 7)] * 2


def test_retrain_after_needs_watch(spam):
    code, _, err = spam("sync", "street", "--retrain-after", "5")
    assert code == 2
    assert "--retrain-after needs --watch" in err


# --- the loop


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--reviewer", "simulated"], "name its field with --gt"),
        (["--reviewer", "cvat", "--gt", "truth"], "--gt is for --reviewer simulated"),
        (["--reviewer", "simulated", "--gt", "t", "--budget", "lots"], "write 3.3%"),
        (["--reviewer", "simulated", "--gt", "t", "--parts", "wheel"], "no part 'wheel'"),
        (["--reviewer", "simulated", "--gt", "t", "--every", "0"], "more than 0"),
        (["--reviewer", "simulated", "--gt", "t", "--rounds", "0"], "0 rounds are too few"),
    ],
)  # fmt: skip
def test_a_loop_that_cannot_be_is_refused_before_anything_is_done(spam, words, said):
    code, _, err = spam("run", "nowhere", *words)
    assert code == 2
    assert said in err


def outcome(dataset):
    """What a loop has left behind: answers, and boxes of the labels, whatever their ids."""
    from spam_plugin.integrations.fiftyone_.answers import AnswerBook

    answers = sorted(
        (one.verdict.value, one.when, str(one.boxes), str(one.drawn))
        for one in AnswerBook(dataset, "spam_tracks").all()
    )
    dataset.reload()
    boxes = dataset.values("frames.spam_tracks.detections.bounding_box", unwind=True)
    return answers, boxes


def test_a_loop_that_was_killed_ends_like_one_that_was_not(monkeypatch, tmp_path):
    from spam_plugin.engine.queries import Budget
    from spam_plugin.integrations.fiftyone_.looping import Work
    from spam_plugin.integrations.looping import run

    monkeypatch.setenv("SPAM_PLUGIN_SHELF", str(tmp_path))
    whole = stream_dataset("whole", (3,), 30)
    killed = whole.clone("killed", persistent=True)  # with the same ids, which decide between questions of equal worth
    end = run(whole, Budget.parse("15%"), 1, reviewer="simulated", gt="ground_truth", work=Work(parts=None))
    words = ["run", "killed", "--budget", "15%", "--rounds", "1", "--reviewer", "simulated", "--gt", "ground_truth",
             "--parts", "none", "--json"]  # fmt: skip
    code = "from spam_plugin.plugin.cli import main; main()"
    process = subprocess.Popen(
        [sys.executable, "-c", code, *words], stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True
    )
    assert any("take: round 1" in line for line in process.stderr), "it never came to the answers"
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    again = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True, env=dict(os.environ))
    assert again.returncode == 0, again.stderr
    state = json.loads(again.stdout)
    assert [one["clicks"] for one in state["reports"]] == [one.clicks for one in end.reports]
    assert state["why"] == end.why
    assert outcome(killed) == outcome(whole)
    for dataset in (whole, killed):
        dataset.delete()
