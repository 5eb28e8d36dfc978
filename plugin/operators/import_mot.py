"""Operator "import": MOTChallenge folders of the server's machine become a dataset, which is opened then."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...models.errors import InputError
from .base import SpamOperator
from .forms import Form
from .live import Tell

if TYPE_CHECKING:
    from fiftyone.operators.executor import ExecutionContext

    from ...integrations.mot.sequence import Sequence as MotSequence

FRAMES_PER_SECOND = 60.0  # of images that become a video

_MEDIA = {"video": "one sample a sequence", "images": "one sample a frame, grouped by sequence"}


class ImportMot(SpamOperator):
    """Imports sequences; no dataset need be open."""

    NAME = "import_mot"
    LABEL = "SPAM: import MOTChallenge"
    HELP = "Make a dataset of MOTChallenge sequences, with their detections and ground truth"
    BUTTON = "Import"
    ICON = "/assets/import.svg"
    LONG = True

    def form(self, form: Form) -> None:
        """Where from, what into, and what is there."""
        from ...integrations.mot.sequence import find_sequences

        folder = form.text(
            "folder",
            "Folder",
            help="On this machine: a sequence (with seqinfo.ini), or a folder of some",
            required=True,
        )
        if not folder:
            return
        sequences: list[MotSequence] = []
        with form.refusing("folder"):
            sequences = find_sequences([_path(folder)])
        if not sequences:
            return
        name = form.text("dataset", "Dataset", _path(folder).name, "It is made if there is none", required=True)
        if not name:
            return
        form.pick(
            "detections", "Detections that become the candidates", [*_files(sequences), "none"], _usual(sequences)
        )
        if all(sequence.images for sequence in sequences):
            form.radio("media", "Samples", _MEDIA, "video")
        form.text("class_names", "Names of classes", help="Where MOTChallenge's own do not fit, e.g. 1=car, 2=bus")
        with form.refusing("class_names"):
            class_names(form.params.get("class_names"))
        form.switch("overwrite", "Replace these sequences where the dataset has them already")
        form.switch("skip_bad", "Leave out lines that cannot be used, instead of stopping")
        _preview(form, sequences, name)

    def seconds(self, ctx: ExecutionContext) -> float:
        """From the number of frames that become videos."""
        from ...integrations.mot.sequence import find_sequences

        frames = sum(len(one.images) for one in find_sequences([_path(str(ctx.params.get("folder") or ""))]))
        return 0.0 if ctx.params.get("media") == "images" else frames / FRAMES_PER_SECOND

    def run(self, ctx: ExecutionContext, tell: Tell) -> dict[str, Any]:
        """Imports, and says what came in."""
        from ...integrations.fiftyone_.choices import plural
        from ...integrations.mot.importing import import_mot

        params = ctx.params
        name = str(params["dataset"]).strip()
        result = import_mot(
            [_path(params["folder"])], name, detections=params.get("detections") or "det.txt",
            media="images" if params.get("media") == "images" else "video", overwrite=bool(params.get("overwrite")),
            skip_bad=bool(params.get("skip_bad")), progress=tell, class_names=class_names(params.get("class_names")),
        )  # fmt: skip
        count, kept = len(result.added), len(result.kept)
        said = f"{count:,} {plural(count, 'sequence')}, {result.boxes:,} boxes imported into {name!r}"
        left = [
            f"{sequence}: left out {number:,} lines: {reason}"
            for sequence, reasons in result.skipped.items() for reason, number in reasons.items()
        ]  # fmt: skip
        return {
            "said": said + (f"; {kept:,} were there already" if kept else ""), "dataset": name, "problems": left,
            "added": list(result.added), "kept": list(result.kept), "boxes": result.boxes,
        }  # fmt: skip

    def after(self, ctx: ExecutionContext, result: dict[str, Any]) -> Iterator[Any]:
        """Opens the dataset."""
        yield ctx.ops.open_dataset(result["dataset"])


def class_names(text: Any) -> dict[int, str]:
    """Number -> name, of "1=car, 2=bus".

    Raises:
        InputError: for anything else.
    """
    out = {}
    for word in filter(None, (word.strip() for word in str(text or "").split(","))):
        found = re.fullmatch(r"(\d+)\s*=\s*(.*\S)", word)
        if found is None:
            raise InputError(f"{word!r} is not NUMBER=NAME, as 1=car is")
        out[int(found[1])] = found[2]
    return out


def _path(text: str) -> Path:
    path = Path(str(text).strip()).expanduser()
    if not path.is_absolute():
        raise InputError(f"{text!r} is not a whole path; write one that begins with {Path.cwd().anchor}")
    return path


def _files(sequences: Sequence[MotSequence]) -> list[str]:
    """Files of detections that every sequence has."""
    found = [{file.name for file in (one.folder / "det").glob("*.txt")} for one in sequences]
    return sorted(set.intersection(*found))


def _usual(sequences: Sequence[MotSequence]) -> str:
    files = _files(sequences)
    return "det.txt" if "det.txt" in files else files[0] if files else "none"


def _preview(form: Form, sequences: Sequence[MotSequence], name: str) -> None:
    import fiftyone as fo

    from ...integrations.fiftyone_.choices import plural

    frames = sum(one.info.num_frames for one in sequences)
    images = sum(bool(one.images) for one in sequences)
    truth = sum((one.folder / "gt" / "gt.txt").is_file() for one in sequences)
    form.say(
        "preview",
        f"{len(sequences):,} {plural(len(sequences), 'sequence')}, {frames:,} frames; {images:,} with images, "
        f"{truth:,} with ground truth",
    )
    if images < len(sequences):
        form.warn("dark", f"{len(sequences) - images:,} without images become plain dark videos")
    if fo.dataset_exists(name):
        form.warn("there", f"There is a dataset {name!r} already: these sequences are added to it")
