"""Operator "export": a field of boxes becomes MOTChallenge text."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...models.errors import InputError, MissingError
from .base import SpamOperator
from .forms import Form, choices_of, target_of
from .live import Tell

if TYPE_CHECKING:
    from fiftyone.operators.executor import ExecutionContext

BOXES_PER_SECOND = 40_000.0


class ExportMot(SpamOperator):
    """Writes a text file for each video, on the machine of the App's server or of the worker."""

    NAME = "export_mot"
    LABEL = "SPAM: export tracks"
    HELP = "Write tracks or boxes as MOTChallenge text, a file for each video"
    BUTTON = "Export"
    ICON = "/assets/export.svg"
    LONG = True

    def form(self, form: Form) -> None:
        """Which boxes, and where to."""
        from ...integrations.fiftyone_.choices import plural

        view, choices = form.target(), form.choices
        usual = choices.track_fields[0] if choices.track_fields else None
        field = form.boxes("field", "Boxes", usual, fields=choices.tracks_or_foreign)
        form.switch("without_ids", "These are detections, not tracks: write -1 as their number")
        folder = form.text("folder", "Folder", help="On this machine; it is made if it is not there", required=True)
        if not folder:
            return
        with form.refusing("folder"):
            path = _folder(folder)
            videos, boxes = choices.candidates_in(view, field)
            there = len(list(path.glob("*.txt"))) if path.is_dir() else 0
            form.say("preview", f"{videos:,} {plural(videos, 'file')} with {boxes:,} boxes, in {path}")
            if there:
                form.warn(
                    "there", f"{there:,} text {plural(there, 'file')} there; those of the same names are replaced"
                )

    def seconds(self, ctx: ExecutionContext) -> float:
        """From the number of boxes."""
        choices, field = choices_of(ctx), ctx.params.get("field")
        return choices.count(target_of(ctx), field)[1] / BOXES_PER_SECOND if field in choices.box_fields else 0.0

    def run(self, ctx: ExecutionContext, tell: Tell) -> dict[str, Any]:
        """Writes, and says where."""
        from ...integrations.fiftyone_.choices import plural
        from ...integrations.mot.exporting import export_mot

        folder = _folder(str(ctx.params["folder"]).strip())
        ids = not ctx.params.get("without_ids")
        try:
            written = export_mot(target_of(ctx), ctx.params["field"], folder, ids, tell)
        except OSError as error:
            raise InputError(f"{folder} cannot be written to: {error.strerror}; choose another folder") from error
        said = f"{len(written):,} {plural(len(written), 'file')} in {folder}"
        return {"said": said, "files": [str(path) for path in written]}


def _folder(text: str) -> Path:
    """Where to write.

    Raises:
        InputError: for a path that is not whole, or names a file.
        MissingError: if what is to hold the folder is not there.
    """
    path = Path(text).expanduser()
    if not path.is_absolute():
        raise InputError(f"{text!r} is not a whole path; write one that begins with {Path.cwd().anchor}")
    if path.exists() and not path.is_dir():
        raise InputError(f"{path} is a file; name a folder")
    if not path.is_dir() and not path.parent.is_dir():
        raise MissingError(f"there is no folder {path.parent} that could hold {path.name!r}")
    return path
