"""Retraining with a FiftyOne dataset: what a notebook, the command line, the App and the loop call."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from dataclasses import asdict
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

import fiftyone as fo
from fiftyone.core.collections import SampleCollection

from ...engine.versions import BY_HAND
from ...models.errors import InputError, MissingError
from .dataset import open_dataset
from .fields import DEFAULT_OUT, OutputFields
from .ledger import Ledger
from .retrainings import Learning
from .runs import plain
from .shelf import Shelf

if TYPE_CHECKING:
    from ...engine.retraining import RetrainReport, RetrainSettings

METHOD = "spam_retrain"
RETRAIN = "retrain"  # the kind of round in the ledger

Tell = Callable[[float, str], None]


def retrain(
    dataset: SampleCollection | str,
    candidates: str = "candidates",
    *,
    settings: RetrainSettings | None = None,
    rounds: int = 1,
    use: bool | None = None,
    embeddings: str | None = None,
    out: str = DEFAULT_OUT,
    view: SampleCollection | str | None = None,
    device: str = "cpu",
    relabel: bool = False,
    skip_bad: bool = False,
    progress: Tell | None = None,
) -> list[RetrainReport]:
    """Train new models of what people said and of what the labels are sure of; use them if they are better.

    A new version goes to the shelf of the field of tracks (``shelf.Shelf``), and is used from then on if answers that
    no model learns from say that it is better. Killed and called again in the same way, it goes on where it was.

    Args:
        dataset: videos, or images with the fields ``sequence`` and ``frame_number``; the dataset, a view, or its name.
        candidates: ``Detections`` field with a detector's boxes.
        settings: what is retrained and how; None for the defaults.
        rounds: how often; before each but the first the videos are labelled anew.
        use: use what comes out whatever the gate says (True), or do not (False); None for what the gate says.
        embeddings: attribute of the candidates that holds appearance vectors, or name of an appearance.
        out: field of the tracks.
        view: only the videos of this view, or saved view.
        device: where models run and learn, as torch names it.
        relabel: label anew at the end, too, if a new version is used.
        skip_bad: leave out candidates and videos that cannot be used.
        progress: told the share that is done, and what is being done.

    Returns:
        a report for each round; fewer than asked for if one had nothing new to learn from.

    Raises:
        MissingError: for a dataset, view, field or file that is not there, or if nothing is labelled yet.
        InputError: for what cannot be used, or if there is nothing to learn from.
        DeskError: if somebody else retrains for the same field.
    """
    from ...engine.retraining import RetrainSettings

    settings = settings or RetrainSettings()
    if rounds < 1:
        raise InputError(f"{rounds} rounds of retraining are too few; it needs at least 1")
    whole = open_dataset(dataset) if isinstance(dataset, str) else dataset
    name = OutputFields(out.removeprefix("frames.")).out
    _check_labelled(whole._dataset, name)
    learning = Learning(whole._dataset, name)
    chosen = {"candidates": candidates, "embeddings": embeddings, "out": name, "view": view, "device": device}
    request = plain(
        {
            **chosen, "view": None if view is None else str(view), "settings": asdict(settings), "rounds": rounds,
            "use": use, "relabel": relabel,
        }
    )  # fmt: skip
    with learning.hold():
        before = learning.running
        state = dict(before) if before.get("request") == request else {"request": request, "round": 0, "parent": None}
        return _rounds(whole, learning, state, settings, rounds, use, relabel, skip_bad, chosen, progress)


def _rounds(
    whole: SampleCollection, learning: Learning, state: dict[str, Any], settings: RetrainSettings, rounds: int,
    use: bool | None, relabel: bool, skip_bad: bool, chosen: Mapping[str, Any], progress: Tell | None,
) -> list[RetrainReport]:  # fmt: skip
    """The rounds that are left; what is noted before each is enough to do it again."""
    from ...engine.retraining import retrain as once
    from . import api
    from .pipeline import FiftyOnePipeline, Source, label_with, open_store

    reports: list[RetrainReport] = []
    out = chosen["out"]
    shelf, tell = Shelf(whole._dataset, out), progress or (lambda share, what: None)
    collection = api._chosen(whole, chosen["view"])
    source = Source(collection, chosen["candidates"], chosen["embeddings"], out, chosen["device"], skip_bad)
    for number in range(state["round"], rounds):
        part = _part(tell, number, rounds)
        if state["parent"] is None:
            state["parent"] = shelf.in_use().name
            learning.running = state
        parent = shelf.get(state["parent"]) if state["parent"] != BY_HAND else shelf.in_use()
        if number:
            part(0.0, "labelling anew")
            label_with(source, parent, part)
        named = None if parent.name == BY_HAND else parent.name
        store, pipeline = open_store(source, parent), FiftyOnePipeline(source, parent)
        report = once(store, shelf, pipeline, settings, use=use, parent=named, skip_bad=skip_bad, tell=part)
        reports.append(report)
        note_retrained(whole._dataset, out, report)
        state |= {"round": number + 1, "parent": None}
        learning.running = state
        if not report.used:
            break  # from the same labels by the same model comes the same version
    if relabel and any(report.used for report in reports):
        tell(0.99, "labelling anew")
        label_with(source, shelf.in_use(), tell)
    learning.running = {}
    _tidy(shelf)
    return reports


def _tidy(shelf: Shelf) -> None:
    """Deletes drafts that nobody will go on with: what was killed was gone on with, or would learn something else."""
    for draft in shelf.folder.glob("draft-*"):
        shutil.rmtree(draft, ignore_errors=True)


def note_retrained(dataset: fo.Dataset, out: str, report: RetrainReport) -> None:
    """Keeps with the dataset that a version was made: as a run, and as a round of the ledger; once for each."""
    version = report.version
    key = f"retrain_{out}_{version.name}"
    if key not in dataset.list_runs():
        now = datetime.now(timezone.utc).isoformat(timespec="seconds")
        config = dataset.init_run(
            method=METHOD, out=out, made=now, version=version.name, parent=version.parent, used=report.used,
            retrained=list(version.retrained), **plain({"learning": _short(version.config)}),
        )  # fmt: skip
        dataset.register_run(key, config)
        results = dataset.init_run_results(key, report=plain(_sayable(report.as_dict())))
        dataset.save_run_results(key, results, overwrite=True, cache=False)
    Learning(dataset, out).learnt(version.name, int(version.config.get("answers_then", 0)))
    ledger = Ledger(dataset, out)
    said = f"{version.name} {'used' if report.used else 'kept'}"
    if all(one.kind != RETRAIN or one.said != said for one in ledger.rounds()):
        ledger.note(RETRAIN, said=said)


def _short(config: Mapping[str, Any]) -> dict[str, Any]:
    return {name: config[name] for name in ("parts", "seed", "self_training", "lessons") if name in config}


def _sayable(value: Any) -> Any:
    """Plain values, files by their names."""
    if isinstance(value, Mapping):
        return {key: _sayable(one) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [_sayable(one) for one in value]
    return str(value) if isinstance(value, Path) else value


def _part(tell: Tell, number: int, rounds: int) -> Tell:
    lead = f"round {number + 1}: " if rounds > 1 else ""
    return lambda share, what: tell((number + share) / rounds, lead + what)


def _check_labelled(dataset: fo.Dataset, out: str) -> None:
    """Makes sure that there are labels to learn from.

    Raises:
        MissingError: if there are none.
    """
    prefix = "frames." if dataset.media_type == "video" else ""
    if dataset.get_field(prefix + out) is None:
        raise MissingError(
            f"dataset {dataset.name!r} has no tracks in field {out!r} to learn from; label first (spam-plugin label "
            f"{dataset.name})"
        )
