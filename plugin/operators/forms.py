"""Forms that know the dataset: they offer what can be chosen, say what will happen, and refuse what cannot be."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from fiftyone.operators import types
from pymongo.errors import PyMongoError

from ...models.errors import MissingError, SpamPluginError

if TYPE_CHECKING:
    from fiftyone.core.collections import SampleCollection
    from fiftyone.operators.executor import ExecutionContext

    from ...integrations.fiftyone_.choices import Choices

DATABASE_GONE = "the database does not answer; see that it runs (spam-plugin doctor), then try again"


def sentence(error: BaseException) -> str | None:
    """What to tell a person of an error that is no defect of ours; None for one that is."""
    if isinstance(error, SpamPluginError):
        return " ".join(str(error).split())
    if isinstance(error, PyMongoError):
        return DATABASE_GONE
    return None


class Form:
    """The form of one operator, made anew whenever something in it changes.

    Args:
        ctx: FiftyOne's context: dataset, view, selection, and what has been filled in so far.
        title: of the form.
        button: what its button says.
    """

    def __init__(self, ctx: ExecutionContext, title: str, button: str) -> None:
        self.ctx = ctx
        self.params: Mapping[str, Any] = ctx.params
        self._inputs = types.Object()
        self._view = types.PromptView(label=title, submit_button_label=button)
        self._choices: Choices | None = None
        self._shown: dict[str, types.Property] = {}

    @property
    def choices(self) -> Choices:
        """The dataset as far as forms ask about it.

        Raises:
            MissingError: if no dataset is open.
            InputError: if it holds no videos.
        """
        if self._choices is None:
            self._choices = choices_of(self.ctx)
        return self._choices

    def property(self) -> types.Property:
        """The form as FiftyOne wants it."""
        return types.Property(self._inputs, view=self._view)

    @contextmanager
    def refusing(self, name: str | None = None) -> Iterator[None]:
        """Shows what a user can mend at a field, and keeps the form from being sent; what comes behind it is left out.

        Args:
            name: the field that is at fault; None for the form as a whole.
        """
        try:
            yield
        except Exception as error:
            said = sentence(error)
            if said is None:
                raise
            self.refuse(said, name)

    def refuse(self, said: str, name: str | None = None) -> None:
        """Shows an error, and keeps the form from being sent."""
        shown = self._shown.get(name or "")
        if shown is None:
            view = types.Error(label="This cannot be done", description=said)
            shown = self._inputs.str("refused", default="", view=view)
        shown.invalid = True
        shown.error_message = said

    def say(self, name: str, text: str) -> None:
        """A line that tells what will happen."""
        self._inputs.view(name, types.Notice(label=text))

    def warn(self, name: str, text: str) -> None:
        """A line that tells what may not be wanted."""
        self._inputs.view(name, types.Warning(label=text))

    def head(self, name: str, text: str, description: str = "") -> None:
        """A heading above fields that belong together."""
        self._inputs.view(name, types.Header(label=text, description=description, divider=True))

    def pick(
        self, name: str, label: str, values: Sequence[str], default: str | None = None, help: str = "",
        names: Mapping[str, str] | None = None, required: bool = True,
    ) -> str | None:  # fmt: skip
        """One of some values. Returns what is chosen now."""
        view = types.DropdownView()
        for value in values:
            view.add_choice(value, label=(names or {}).get(value, value))
        self._shown[name] = self._inputs.enum(
            name, view.values(), label=label, description=help, default=default, required=required, view=view
        )
        return self._now(name, default)

    def radio(
        self, name: str, label: str, names: Mapping[str, str], default: str, help: str = "",
        descriptions: Mapping[str, str] | None = None,
    ) -> str:  # fmt: skip
        """One of a few values, all of them seen at once. Returns what is chosen now."""
        view = types.RadioGroup()
        for value, shown in names.items():
            view.add_choice(value, label=shown, description=(descriptions or {}).get(value))
        self._shown[name] = self._inputs.enum(
            name, view.values(), label=label, description=help, default=default, required=True, view=view
        )
        return self._now(name, default)

    def text(self, name: str, label: str, default: str = "", help: str = "", required: bool = False) -> str:
        """A line of text. Returns what is written now."""
        self._shown[name] = self._inputs.str(
            name, label=label, description=help, default=default, required=required
        )
        return self._now(name, default) or ""

    def number(
        self, name: str, label: str, default: float, help: str = "", low: float | None = None, high: float | None = None,
    ) -> float:  # fmt: skip
        """A number. Returns what is written now."""
        self._shown[name] = self._inputs.float(
            name, label=label, description=help, default=default, min=low, max=high, required=True
        )
        return self._now(name, default)

    def switch(self, name: str, label: str, default: bool = False, help: str = "") -> bool:
        """Yes or no. Returns what is chosen now."""
        self._shown[name] = self._inputs.bool(
            name, label=label, description=help, default=default, view=types.CheckboxView()
        )
        return bool(self._now(name, default))

    def file(self, name: str, label: str, folder: bool = False, default: str = "", help: str = "") -> str:
        """Path of a file or folder of the server's machine. Returns what is written now."""
        return self.text(name, label, default, help, required=True)

    def boxes(self, name: str, label: str, default: str | None = None, help: str = "") -> str:
        """A field of boxes of the dataset. Returns the one that is chosen now.

        Raises:
            MissingError: if the dataset has none.
        """
        fields = self.choices.box_fields
        if not fields:
            raise MissingError(
                f"dataset {self.choices.name!r} has no field of boxes (Detections) that could be used here; run a "
                "detector, or import boxes first"
            )
        if default not in fields:
            default = fields[0] if len(fields) == 1 else None
        chosen = self.pick(name, label, fields, default, help)
        if chosen is not None and chosen not in fields:  # deleted while the form is open
            self.refuse(f"field {chosen!r} is not in the dataset any more; choose another one", name)
            raise MissingError(f"field {chosen!r} is not in the dataset any more; choose another one")
        if chosen is None:
            raise MissingError(f"choose {label[:1].lower()}{label[1:]}")
        return chosen

    def target(self) -> SampleCollection:
        """The videos that are meant: the whole dataset, the view, or the selected samples; whole videos always.

        FiftyOne itself adds the choice to the form, where there is one.

        Raises:
            InputError: if no video is there.
        """
        return target_of(self.ctx)

    def _now(self, name: str, default: Any) -> Any:
        value = self.params.get(name)
        return default if value is None else value


def choices_of(ctx: ExecutionContext) -> Choices:
    """The dataset of a context as far as forms ask about it.

    Raises:
        MissingError: if no dataset is open.
        InputError: if it holds no videos.
    """
    from ...integrations.fiftyone_.choices import Choices

    return Choices(dataset_of(ctx))


def dataset_of(ctx: ExecutionContext) -> Any:
    """The dataset that is open.

    Raises:
        MissingError: if none is.
    """
    try:
        dataset = ctx.dataset
    except ValueError as error:  # FiftyOne's own for one that is not there
        raise MissingError(f"{error}; open another dataset") from error
    if dataset is None:
        raise MissingError("no dataset is open; open one first")
    return dataset


def target_of(ctx: ExecutionContext) -> SampleCollection:
    """The videos that are meant, as a view of whole videos; the dataset itself if all are.

    Raises:
        MissingError: if no dataset is open.
        InputError: if no video is there.
    """
    from ...integrations.fiftyone_.choices import whole_videos

    return whole_videos(dataset_of(ctx), ctx.target_view())
