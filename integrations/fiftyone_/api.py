"""What a notebook calls, as ``spam_plugin.label``, ``spam_plugin.evaluate`` and the like."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fiftyone.core.collections import SampleCollection

from ...engine.answers import Answer
from ...engine.label import LabelReport, Step, label_videos
from ...engine.ports import Labeller
from ...models.errors import InputError, MissingError
from ..appearances import COLOUR, open_appearance
from .answers import AnswerBook
from .calls import chosen as _chosen
from .calls import shown as _shown
from .calls import told as _told
from .dataset import open_dataset
from .detecting import DetectReport
from .embedding import Describer, EmbedReport, describe_videos, embed_videos
from .evaluate import Evaluation, evaluate
from .fields import DEFAULT_OUT, OutputFields
from .finding import detect, detect_to_label
from .ledger import Ledger
from .queries import QueryDesk
from .shelf import weights_in_use
from .store import FiftyOneStore
from .truth import read_truth
from .videos import box_field, open_videos

if TYPE_CHECKING:
    from ...engine.choosing import QueryPlan
    from ...engine.queries import Budget
    from ...engine.simulation import Plan, Point
    from ...models.spam import LabelSettings, SpamModel

__all__ = [
    "AnswerReport", "DetectReport", "EmbedReport", "Evaluation", "LabelReport", "answer", "detect", "embed", "evaluate",
    "label", "queries", "simulate",
]  # fmt: skip


def label(
    dataset: SampleCollection | str,
    candidates: str = "candidates",
    *,
    detector: Any | None = None,
    embeddings: str | None = None,
    out: str = DEFAULT_OUT,
    view: SampleCollection | str | None = None,
    model: Labeller | str | Path | None = None,
    device: str = "cpu",
    settings: LabelSettings | None = None,
    skip_bad: bool = False,
    progress: bool | Callable[[Step], None] = True,
) -> LabelReport:
    """Make tracks of the candidates in every video of a dataset, and write them with their uncertainty.

    Writes the frame field ``out`` and the fields of each video that go with it (see ``fields.OutputFields``), saves
    the views "most uncertain", "in review" and "reviewed", and registers the run with the dataset. Called again, it
    replaces what it wrote, but no box that a human drew or changed, nor the track that it is in. If it was interrupted,
    the same call does the rest.

    Args:
        dataset: videos, or images with the fields ``sequence`` and ``frame_number``; the dataset, a view, or its name.
        candidates: ``Detections`` field with a detector's boxes and their ``confidence``, of any scale.
        detector: finds the candidates first, where that has not been done, and describes them as ``embeddings`` says
            while their frames are in memory; see ``detect``. None to take candidates that are there.
        embeddings: attribute of the candidates that holds appearance vectors, or an appearance ("default", "colour", a
            file, a folder or hub id), whose vectors lie beside the database and are made where they are missing.
        out: field that the tracks go to.
        view: only the videos of this view, or saved view; it chooses videos, it does not hide boxes.
        model: a loaded model, a file of weights, or None for those in use (see ``shelf``), at first the default.
        device: where a model that is loaded here runs, as torch names it; the processor by default.
        settings: what to leave out or change; None for the defaults.
        skip_bad: leave out and count candidates and videos that cannot be used, instead of raising.
        progress: whether to show it, on standard error; or a function that is told every step.

    Raises:
        MissingError: for a dataset, view, field, attribute or file that is not there.
        InputError: for input that cannot be used; names video, frame and field. Nothing has been written then.
        DeskError: if somebody else labels, asks about or synchronises the same field; nothing has been written then.
    """
    collection, skipped = _chosen(dataset, view), dict[str, str]()
    if detector is not None:
        collection, skipped = detect_to_label(
            collection, candidates, detector, embeddings, out, device, skip_bad, progress
        )  # fmt: skip
    store = FiftyOneStore(collection, candidates, out, embeddings, device=device)
    model = weights_in_use(collection._dataset, out) if model is None else model
    if model is None or isinstance(model, (str, Path)):
        from ...models.spam import LabelSettings, SpamModel

        store.weights = model or ""
        model = SpamModel.load(model, device)
        settings = settings or LabelSettings()
    with store.hold(), _told(progress, "reading", "labelling") as tell:
        report = label_videos(store, model, settings, tell, skip_bad=skip_bad)
    return replace(report, skipped={**skipped, **report.skipped}) if skipped else report


def embed(
    dataset: SampleCollection | str,
    candidates: str = "candidates",
    *,
    appearance: str | Path | None = None,
    out: str | None = None,
    view: SampleCollection | str | None = None,
    device: str = "cpu",
    skip_bad: bool = False,
    progress: bool = True,
) -> EmbedReport:
    """Give every candidate a vector that says how it looks, which ``label`` can use.

    The vectors of an appearance lie beside the database, in half precision, and are found again by what is in the
    files: run again, only what has changed is described, as ``label(embeddings=appearance)`` does by itself. Named an
    attribute, they go there instead; colours (``models.appearance.colour``) do if no appearance is named.

    Args:
        dataset: videos, or images with the fields ``sequence`` and ``frame_number``; the dataset, a view, or its name.
        candidates: ``Detections`` field with a detector's boxes.
        appearance: "default", "colour", a ``.safetensors`` of ours, or a vision backbone of ``transformers`` by folder
            or hub id; None for colours in an attribute.
        out: attribute of the candidates that the vectors go to; what it held is replaced. None for "embedding" if no
            appearance is named, and else for a place beside the database.
        view: only the videos of this view, or saved view.
        device: where the appearance runs, as torch names it.
        skip_bad: leave out and count boxes and videos that cannot be used, instead of raising.
        progress: whether to show it, on standard error.

    Raises:
        MissingError: for a dataset, view or field that is not there.
        InputError: for input that cannot be used; names video, frame and field.
    """
    chosen = _chosen(dataset, view)
    with _shown(progress, "embedding") as tell:
        if appearance is not None and out is None:
            describer = Describer(chosen._dataset, appearance, device)
            return describe_videos(chosen, candidates, describer, skip_bad=skip_bad, tell=tell)
        describe = open_appearance(appearance or COLOUR, device).describe
        return embed_videos(chosen, candidates, out or "embedding", describe, skip_bad=skip_bad, tell=tell)


def queries(
    dataset: SampleCollection | str,
    candidates: str = "candidates",
    *,
    budget: str | Budget = "3.3%",
    clicks_per_hour: float = 1200.0,
    acquisition: str = "boxes",
    seed: int = 0,
    wish: float | None = None,
    embeddings: str | None = None,
    out: str = DEFAULT_OUT,
    view: SampleCollection | str | None = None,
    model: SpamModel | str | Path | None = None,
    device: str = "cpu",
    settings: LabelSettings | None = None,
    skip_bad: bool = False,
    progress: bool | Callable[[Step], None] = True,
) -> QueryPlan:
    """Choose what to ask a person next, and put the questions into the dataset.

    Writes the field of boxes ``spam_queries`` (for the field ``spam_tracks``), the fields ``spam_open_queries`` and
    ``spam_expected_gain`` of each video and the saved view "open queries", and registers the round with the dataset.
    Called again, it replaces the questions of the round before; the labels stay as they are.

    Args:
        dataset: videos, or images with the fields ``sequence`` and ``frame_number``; the dataset, a view, or its name.
        candidates: ``Detections`` field with a detector's boxes.
        budget: "3.3%" of labelling all by hand, "120 clicks" or "2h", or a ``Budget``.
        clicks_per_hour: a person's rate, for budgets in hours.
        acquisition: which rule puts the questions into order; see ``engine.acquisition.ACQUISITIONS``.
        seed: of rules that draw lots.
        wish: share of wrong boxes, in [0, 1]; the plan then tells how many clicks are expected to lead there.
        embeddings: attribute of the candidates that holds appearance vectors, or an appearance, as for ``label``.
        out: field of the tracks that the questions are about.
        view: only the videos of this view, or saved view.
        model: a loaded model, a file of weights, or None for those in use (see ``shelf``), at first the default.
        device: where a model that is loaded here runs.
        settings: of the labelling; use those that the labels were made with.
        skip_bad: leave out and count candidates and videos that cannot be used, instead of raising.
        progress: whether to show it, on standard error; or a function that is told every step.

    Raises:
        MissingError: for a dataset, view, field, attribute or file that is not there.
        InputError: for a budget, rule or wish that cannot be, or input that cannot be used.
        DeskError: if somebody else labels, asks about or synchronises the same field; nothing has been written then.
    """
    from ...engine.choosing import choose_queries
    from ...engine.queries import Budget
    from ...models.spam import LabelSettings, SpamModel

    spend = Budget.parse(budget, clicks_per_hour) if isinstance(budget, str) else budget
    collection = _chosen(dataset, view)
    store = FiftyOneStore(collection, candidates, out, embeddings, device=device)
    store.query_desk().check()  # before the work and not only behind it
    model = weights_in_use(collection._dataset, out) if model is None else model
    if model is None or isinstance(model, (str, Path)):
        model = SpamModel.load(model, device)
    settings = settings or LabelSettings()
    configuration = {
        "budget": asdict(spend), "acquisition": acquisition, "seed": seed, "wish": wish, "settings": asdict(settings)
    }  # fmt: skip
    with store.hold():
        with _told(progress, "labelling") as tell:
            plan = choose_queries(store, model, spend, acquisition, seed, settings, tell, skip_bad=skip_bad, wish=wish)
        store.write_queries(plan, configuration)
    return plan


def simulate(
    dataset: SampleCollection | str,
    gt: str,
    candidates: str = "candidates",
    *,
    plan: Plan | None = None,
    fill: bool = False,
    tracker: str | Path | None = None,
    embeddings: str | None = None,
    view: SampleCollection | str | None = None,
    model: SpamModel | str | Path | None = None,
    device: str = "cpu",
    settings: LabelSettings | None = None,
    skip_bad: bool = False,
    progress: Callable[[float, str], None] | None = None,
) -> list[Point]:
    """What labels would be worth after so many clicks of a person, who is simulated from ground truth.

    Changes nothing in the dataset; answers given before are not used.

    Args:
        dataset: videos, or images with the fields ``sequence`` and ``frame_number``; the dataset, a view, or its name.
        gt: ``Detections`` field with the ground truth; boxes whose attribute ``ignored`` is true do not count.
        candidates: ``Detections`` field with a detector's boxes.
        plan: budgets, rule and errors; None for the defaults.
        fill: follow objects between and around the boxes that were drawn, before labels are computed anew; the media
            must be there. See ``propagate``.
        tracker: that follows: a file, or None for the default weights.
        embeddings: attribute of the candidates that holds appearance vectors, or an appearance, as for ``label``.
        view: only the videos of this view, or saved view.
        model: a loaded model, a file of weights, or None for the default weights.
        device: where a model that is loaded here runs.
        settings: of the labelling.
        skip_bad: leave out candidates that cannot be used, instead of raising.
        progress: told the share that is done, and what is being done.

    Raises:
        MissingError: for a dataset, view, field, attribute or file that is not there.
        InputError: for ground truth that is missing in a video, or is of one of another length or size, or input that
            cannot be used.
    """
    from ...engine.simulation import Plan, SimulatedVideo
    from ...engine.simulation import simulate as run
    from ...models.spam import SpamModel

    plan = plan or Plan()
    chosen = _chosen(dataset, view)
    store = FiftyOneStore(chosen, candidates, DEFAULT_OUT, embeddings, check=False)
    stored = open_videos(chosen)
    truth_field = box_field(stored, gt)
    videos = []
    for video in stored:
        read = store.read(video.key, skip_bad)
        table = read_truth(video, read.info, truth_field, plan.preprocess is not None)
        name = video.name if [v.name for v in stored].count(video.name) == 1 else video.key
        videos.append(SimulatedVideo(name, read.info, read.candidates, table, read.class_names))
    if model is None or isinstance(model, (str, Path)):
        model = SpamModel.load(model, device)
    filler = None
    if fill:
        from .following import filler_of

        seen = {one.key: (video, one.info) for one, video in zip(videos, stored, strict=True)}
        filler = filler_of(seen, tracker, device)
    return run(videos, model, plan, settings, progress, filler=filler)


@dataclass(frozen=True)
class AnswerReport:
    """What became of answers that came in.

    Attributes:
        new: how many were kept.
        known: how many were there already.
        videos: how many videos they are about.
    """

    new: int
    known: int
    videos: int


def answer(
    dataset: SampleCollection | str, answers: Sequence[Answer] | str | Path, *, out: str = DEFAULT_OUT
) -> AnswerReport:
    """Keep people's answers with the dataset; the next ``label`` keeps to them.

    Questions that they answer are open no more.

    Args:
        dataset: the dataset, or its name.
        answers: answers, or a JSON file with a list of them (see ``engine.answers.Answer.from_dict``).
        out: field of the tracks that they are about.

    Raises:
        MissingError: for a dataset or file that is not there.
        InputError: for answers that cannot be read, or are about other videos; none is kept then.
    """
    fields = OutputFields(out.removeprefix("frames."))
    given = read_answers(answers) if isinstance(answers, (str, Path)) else list(answers)
    whole = (open_dataset(dataset) if isinstance(dataset, str) else dataset)._dataset
    videos = open_videos(whole)
    new = AnswerBook(whole, fields.out).add(given, [video.key for video in videos])
    about = {one.video for one in given}
    touched = [video for video in videos if video.key in about]
    QueryDesk(whole, videos[0].prefix, fields).close(touched, {one.query for one in given if one.query})
    if new:
        Ledger(whole, fields.out).note("answers")
    return AnswerReport(new, len(given) - new, len(about))


def read_answers(path: str | Path) -> list[Answer]:
    """The answers of a JSON file.

    Raises:
        MissingError: if there is no such file.
        InputError: if it is no list of answers; names the first that is none.
    """
    file = Path(path)
    if not file.is_file():
        raise MissingError(f"there is no file {file}")
    try:
        values = json.loads(file.read_text())
    except ValueError as error:
        raise InputError(f"{file}: no JSON ({error})") from error
    if not isinstance(values, list) or not all(isinstance(one, dict) for one in values):
        raise InputError(f"{file}: it must hold a list of answers, each an object with 'video', 'verdict' and 'boxes'")
    out = []
    for number, one in enumerate(values, 1):
        try:
            out.append(Answer.from_dict(one))
        except InputError as error:
            raise InputError(f"{file}, answer {number}: {error}") from error
    return out
