"""Forms that know the dataset: they offer what can be chosen, say what will happen, and refuse what cannot be."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from fiftyone.operators import types
from pymongo.errors import PyMongoError

from ...models.errors import InputError, MissingError, SpamPluginError

if TYPE_CHECKING:
    from fiftyone.core.collections import SampleCollection
    from fiftyone.operators.executor import ExecutionContext

    from ...integrations.fiftyone_.choices import Choices

_SHARED = "spam_plugin.choices"  # among the parameters of a request, which all operators are given
DATABASE_GONE = "the database does not answer; see that it runs (spam-plugin doctor), then try again"
NONE = "-"  # the choice of nothing; no field or attribute has such a name


def sentence(error: BaseException) -> str | None:
    """What to tell a person of an error that is no defect of ours; None for one that is."""
    if isinstance(error, SpamPluginError):
        return " ".join(str(error).split())
    if isinstance(error, PyMongoError):
        return DATABASE_GONE
    return None


class UnfinishedError(Exception):
    """Something required is not chosen yet: the form ends here, and says no more until it is."""


class Form:
    """The form of one operator, made anew whenever something in it changes.

    What is filled in from the start is not marked as required: the App would complain for a moment that it is missing.

    Args:
        ctx: FiftyOne's context: dataset, view, selection, and what has been filled in so far.
        title: of the form.
        button: what its button says.

    Attributes:
        refused: why the form cannot be sent as it is, or None.
    """

    def __init__(self, ctx: ExecutionContext, title: str, button: str) -> None:
        self.ctx = ctx
        self.params: Mapping[str, Any] = ctx.params
        self.refused: str | None = None
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

    def fill(self) -> None:
        """Fills in what stands in the form where nothing else was given."""
        for name, shown in self._shown.items():
            if shown.default is not None and self.ctx.params.get(name) is None:
                self.ctx.params[name] = shown.default

    def property(self) -> types.Property:
        """The form as FiftyOne wants it."""
        return types.Property(self._inputs, view=self._view)

    @contextmanager
    def refusing(self, name: str | None = None) -> Iterator[None]:
        """Shows what a user can mend at a field, and keeps the form from being sent.

        Args:
            name: the field that is at fault; None for the form as a whole.
        """
        try:
            yield
        except UnfinishedError as error:
            self.refused = self.refused or str(error)
        except Exception as error:
            said = sentence(error)
            if said is None:
                raise
            self.refuse(said, name)

    def refuse(self, said: str, name: str | None = None) -> None:
        """Shows an error, and keeps the form from being sent."""
        self.refused = self.refused or said
        shown = self._shown.get(name or "")
        if shown is None:
            view = types.AlertView(label="This cannot be done", description=said, severity="error")
            shown = self._inputs.str("refused", default="", view=view)
            # When its button is pressed, the App looks at a form anew but shows only errors at fields that it shows.
            for first in [] if self._shown else list(self.params)[:1]:
                self._shown[first] = self._inputs.str(first, view=types.HiddenView())
                self._shown[first].invalid, self._shown[first].error_message = True, said
        shown.invalid = True
        shown.error_message = said

    # --- what it tells

    def say(self, name: str, text: str) -> None:
        """A line that tells what will happen."""
        self._inputs.view(name, types.AlertView(label=text, severity="info"))

    def warn(self, name: str, text: str) -> None:
        """A line that tells what may not be wanted."""
        self._inputs.view(name, types.AlertView(label=text, severity="warning"))

    def head(self, name: str, text: str, description: str = "") -> None:
        """A heading above fields that belong together."""
        self._inputs.view(name, types.Header(label=text, description=description, divider=True))

    # --- what it asks

    def pick(
        self, name: str, label: str, values: Sequence[str], default: str | None = None, help: str = "",
        names: Mapping[str, str] | None = None,
    ) -> str:  # fmt: skip
        """One of some values. Returns what is chosen now.

        Raises:
            UnfinishedError: while nothing is.
            InputError: for a choice that is gone since it was made; it is shown at the field.
        """
        view = types.DropdownView()
        for value in values:
            view.add_choice(value, label=(names or {}).get(value, value))
        self._shown[name] = self._inputs.enum(
            name, view.values(), label=label, description=help, default=default, required=default is None, view=view
        )
        chosen = self._now(name, default)
        if chosen is None:
            raise UnfinishedError(f"nothing is chosen for {label!r}")
        if chosen not in values:
            self.refuse(f"{chosen!r} is not there any more; choose again", name)
            raise UnfinishedError(f"{chosen!r}, chosen for {label!r}, is not there any more")
        return chosen

    def several(
        self, name: str, label: str, values: Sequence[str], default: Sequence[str] = (), help: str = ""
    ) -> tuple[str, ...]:
        """Any number of some values. Returns what is chosen now; one that is none of them is shown at the field."""
        view = types.DropdownView(multiple=True)
        for value in values:
            view.add_choice(value, label=value)
        self._shown[name] = self._inputs.list(
            name, types.String(), label=label, description=help, default=list(default), required=False, view=view
        )
        chosen = tuple(self._now(name, list(default)))
        strange = [one for one in chosen if one not in values]  # the App lets people write their own
        if strange:
            self.refuse(f"{strange[0]!r} is none of: {', '.join(values)}", name)
        return chosen

    def radio(
        self, name: str, label: str, names: Mapping[str, str], default: str, help: str = "",
        descriptions: Mapping[str, str] | None = None,
    ) -> str:  # fmt: skip
        """One of a few values, all of them seen at once. Returns what is chosen now."""
        view = types.RadioGroup()
        for value, shown in names.items():
            view.add_choice(value, label=shown, description=(descriptions or {}).get(value))
        self._shown[name] = self._inputs.enum(
            name, view.values(), label=label, description=help, default=default, required=False, view=view
        )
        chosen = self._now(name, default)
        return chosen if chosen in names else default

    def text(self, name: str, label: str, default: str = "", help: str = "", required: bool = False) -> str:
        """A line of text. Returns what is written now; while nothing is that must be, the form cannot be sent."""
        self._shown[name] = self._inputs.str(
            name, label=label, description=help, default=default or None, required=required and not default
        )
        written = str(self._now(name, default) or "").strip()
        if required and not written:
            self.refused = self.refused or f"nothing is written for {label!r}"
        return written

    def number(
        self, name: str, label: str, default: float, help: str = "", low: float | None = None,
        high: float | None = None, slider: bool = False,
    ) -> float:  # fmt: skip
        """A number, written or, between two bounds, slid to. Returns what it is now.

        Raises:
            UnfinishedError: while it is none, or out of its bounds; that is shown at the field.
        """
        self._shown[name] = self._inputs.float(
            name, label=label, description=help, default=default, min=low, max=high, required=False,
            **({"view": types.SliderView()} if slider else {}),
        )  # fmt: skip
        written = self._now(name, default)
        least, most = float("-inf") if low is None else low, float("inf") if high is None else high
        if isinstance(written, bool) or not isinstance(written, (int, float)) or not least <= written <= most:
            bounds = " and ".join(
                f"{word} {end:g}" for word, end in (("from", low), ("up to", high)) if end is not None
            )
            self.refuse(f"{written!r} cannot be; write a number {bounds}".rstrip(), name)
            raise UnfinishedError(f"{written!r} cannot be {label!r}")
        return float(written)

    def switch(self, name: str, label: str, default: bool = False, help: str = "") -> bool:
        """Yes or no. Returns what is chosen now."""
        self._shown[name] = self._inputs.bool(
            name, label=label, description=help, default=default, view=types.CheckboxView()
        )
        return bool(self._now(name, default))

    def boxes(
        self, name: str, label: str, default: str | None = None, help: str = "", fields: Sequence[str] | None = None
    ) -> str:
        """A field of boxes of the dataset. Returns the one that is chosen now.

        Args:
            name: of the field in the form.
            label: of it.
            default: that is chosen until another one is.
            help: more about it.
            fields: those to choose from; None for all.

        Raises:
            MissingError: if the dataset has none.
            UnfinishedError: while none is chosen.
        """
        fields = self.choices.box_fields if fields is None else fields
        if not fields:
            raise MissingError(
                f"dataset {self.choices.name!r} has no field of boxes (Detections) that could be used here; run a "
                "detector, or import boxes first"
            )
        if default not in fields:
            default = fields[0] if len(fields) == 1 else None
        return self.pick(name, label, fields, default, help)

    def tracks(self, name: str = "out", label: str = "Tracks") -> str:
        """The field of tracks that is meant; asked for only where there are several.

        Raises:
            MissingError: if nothing is labelled yet.
        """
        fields = self.choices.track_fields
        if not fields:
            raise MissingError(f"dataset {self.choices.name!r} has no tracks of ours yet; label tracks first")
        return fields[0] if len(fields) == 1 else self.pick(name, label, fields, self.choices.out)

    def target(self) -> SampleCollection:
        """The videos that are meant: the whole dataset, the view, or the selected samples; whole videos always.

        FiftyOne itself adds the choice to the form, where there is one.

        Raises:
            InputError: if no video is there.
        """
        self.choices  # noqa: B018 (says what is wrong with the dataset before anything of the view)
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

    shared = ctx.request_params.get(_SHARED)
    if shared is None:
        return Choices(dataset_of(ctx))
    if not shared:
        try:
            shared.append(Choices(dataset_of(ctx)))
        except Exception as error:
            shared.append(error)
    if isinstance(shared[0], Exception):
        raise shared[0]
    return shared[0]


def share_choices(ctx: ExecutionContext) -> None:
    """Lets all that are asked within one request look at the same dataset, once: FiftyOne loads it anew for each.

    So they do at what is wrong with it: each would wait half a minute for a database that has gone, and the App with
    it, whose server asks for buttons where it serves everybody. Only for requests that change nothing.
    """
    ctx.request_params.setdefault(_SHARED, [])


def dataset_of(ctx: ExecutionContext) -> Any:
    """The dataset that is open.

    Raises:
        MissingError: if none is.
    """
    try:
        dataset = ctx.dataset
    except PyMongoError:
        raise
    except Exception as error:  # it is not there any more, or FiftyOne cannot read it
        raise MissingError(f"{' '.join(str(error).split())}; open another dataset") from error
    if dataset is None:
        raise MissingError("no dataset is open; open one first")
    return dataset


def target_of(ctx: ExecutionContext) -> SampleCollection:
    """The videos that are meant, as a view of whole videos; the dataset itself if all are.

    Raises:
        MissingError: if no dataset is open.
        InputError: if no video is there, or the view cannot be used any more.
    """
    from ...integrations.fiftyone_.choices import whole_videos

    dataset = dataset_of(ctx)
    try:
        return whole_videos(dataset, ctx.target_view())
    except (PyMongoError, SpamPluginError):
        raise
    except Exception as error:  # e.g. of a field that was deleted
        why = " ".join(str(error).split())
        raise InputError(f"the view that is open cannot be used ({why}); clear it, and try again") from error
