"""What every operator of ours does alike: a form that refuses, live progress, and errors in a sentence."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterator
from typing import TYPE_CHECKING, Any, ClassVar

import fiftyone.operators as foo
from fiftyone.operators import types

from ...models.errors import InputError
from .forms import Form, sentence, share_choices
from .live import Live, Tell, paced, plain

if TYPE_CHECKING:
    from fiftyone.operators.executor import ExecutionContext

PLUGIN = "@spam-plugin/spam"
SHORT_SECONDS = 60.0  # work that is expected to take longer is offered to a worker first
PROBLEMS_SHOWN = 8

logger = logging.getLogger(__name__)


class SpamOperator(foo.Operator):
    """An operator with a form, that runs while the App shows a bar, or in a worker, or for a script.

    A subclass says its names, what its form holds (``form``) and what it does (``run``). What a person can mend is a
    sentence wherever it comes up: in the form, in the App's window while it runs, in the error of a worker's job. A
    script that calls ``foo.execute_operator`` gets the result, or an ``ExecutionError`` with the sentence.
    """

    NAME: ClassVar[str]
    LABEL: ClassVar[str]
    HELP: ClassVar[str]
    BUTTON: ClassVar[str] = "Execute"
    ICON: ClassVar[str] = ""
    IN_TOOLBAR: ClassVar[bool] = False
    LONG: ClassVar[bool] = False  # may take so long that a worker can be asked to do it
    RELOADS: ClassVar[bool] = False  # changes fields or samples that the App shows
    UNLISTED: ClassVar[bool] = False
    CHANGES: ClassVar[bool] = True  # the form, with what is filled in; one that may be empty must not
    WINDOW: ClassVar[bool] = True  # tells what was done in a window; else in a line that goes by itself

    @property
    def config(self) -> foo.OperatorConfig:
        """What FiftyOne asks for."""
        return foo.OperatorConfig(
            name=self.NAME, label=self.LABEL, description=self.HELP, icon=self.ICON or None, dynamic=self.CHANGES,
            execute_as_generator=True, allow_delegated_execution=self.LONG, unlisted=self.UNLISTED,
            resolve_execution_options_on_change=self.LONG,
        )  # fmt: skip

    def form(self, form: Form) -> None:
        """Puts fields and a preview into the form.

        Raises:
            SpamPluginError: for what cannot be done; it is shown in the form.
        """

    def run(self, ctx: ExecutionContext, tell: Tell) -> dict[str, Any]:
        """Does the work. Returns what to show: ``said``, a sentence, and plain values of the operator's own.

        ``problems``, a list of sentences, is shown, too: what could not be done while the rest was.
        """
        raise NotImplementedError(self.NAME)

    def seconds(self, ctx: ExecutionContext) -> float:
        """How long the work is expected to take."""
        return 0.0

    def fits(self, ctx: ExecutionContext) -> bool:
        """Whether its button is a next natural step, and so is shown. Asked at every change of view: must be cheap."""
        return True

    def asks(self, ctx: ExecutionContext) -> bool:
        """Whether it has a form; else its button does the work at once."""
        return True

    def after(self, ctx: ExecutionContext, result: dict[str, Any]) -> Iterator[Any]:
        """What the App has to do when the work is done, e.g. ``yield ctx.ops.set_view(...)``."""
        return iter(())

    def outcome(self, outputs: types.Object, result: dict[str, Any]) -> None:
        """Puts more into the window that tells what was done; values come from ``result`` by their names."""

    # --- what FiftyOne calls

    def resolve_type(self, ctx: ExecutionContext, type: str) -> types.Property | None:
        """The form or the outcome. Whatever goes wrong becomes a form that says so: the App would show a traceback."""
        try:
            return super().resolve_type(ctx, type)
        except Exception as error:
            form = Form(ctx, self.LABEL, self.BUTTON)
            form.refuse(sentence(error) or self._known(ctx) or self._said(error))
            return form.property()

    def resolve_input(self, ctx: ExecutionContext) -> types.Property | None:
        """The form; nothing where it was filled in before, and ``execute`` looks at it again.

        FiftyOne asks once more before it executes, and would answer the App with a traceback if the form refused then.
        """
        if ctx.delegated or (_in_app(ctx) and "target" not in ctx.request_params):
            return None
        if not self._asks(ctx):
            return None
        form = self._form(ctx)
        if "target" not in ctx.request_params:
            form.fill()  # what a script leaves out is as the App would show it
        return form.property()

    def resolve_placement(self, ctx: ExecutionContext) -> types.Placement | None:
        """Where the button is."""
        if not self.IN_TOOLBAR:
            return None
        share_choices(ctx)  # one request asks all operators for their buttons
        try:
            if not self.fits(ctx):
                return None
        except Exception as error:  # a toolbar without a button beats an App without a toolbar
            logger.debug("%s has no button here: %s", self.NAME, error)
            return None
        return types.Placement(
            types.Places.SAMPLES_GRID_SECONDARY_ACTIONS,
            types.Button(label=self.LABEL, icon=self.ICON, prompt=self._asks(ctx)),
        )

    def resolve_execution_options(self, ctx: ExecutionContext) -> foo.ExecutionOptions:
        """Long work is offered to a worker first."""
        if not self.LONG:
            return foo.ExecutionOptions()
        try:
            long = self.seconds(ctx) > SHORT_SECONDS
        except Exception as error:  # the form says what is wrong
            logger.debug("how long %s takes is not known: %s", self.NAME, error)
            long = False
        return foo.ExecutionOptions(allow_delegated_execution=True, default_choice_to_delegated=long)

    def resolve_run_name(self, ctx: ExecutionContext) -> str:
        """What a job of a worker is called."""
        return self.LABEL

    def execute(self, ctx: ExecutionContext) -> Any:
        """For a worker or a script the result; for the App, what it is told step by step."""
        if ctx.delegated:
            return self._run(ctx, paced(ctx.set_progress))
        return self._live(ctx) if _in_app(ctx) else self._run(ctx, lambda share, what: None)

    def resolve_output(self, ctx: ExecutionContext) -> types.Property:
        """What was done: a sentence, what could not be done, and what the operator adds."""
        result = ctx.results or {}
        outputs = types.Object()
        outputs.view("said", types.AlertView(label=str(result.get("said", "done")), severity="success"))
        problems = result.get("problems") or []
        for number, problem in enumerate(problems[:PROBLEMS_SHOWN]):
            outputs.view(f"problem_{number}", types.AlertView(label=problem, severity="warning"))
        if len(problems) > PROBLEMS_SHOWN:
            more = f"... and {len(problems) - PROBLEMS_SHOWN:,} more of this kind"
            outputs.view("problems_left", types.AlertView(label=more, severity="warning"))
        self.outcome(outputs, result)
        return types.Property(outputs, view=types.View(label=self.LABEL))

    # --- parts of these

    def _asks(self, ctx: ExecutionContext) -> bool:
        try:
            return self.asks(ctx)
        except Exception as error:  # the form says what is wrong
            logger.debug("whether %s has a form is not known: %s", self.NAME, error)
            return True

    def _known(self, ctx: ExecutionContext) -> str | None:
        """What our form has against it, where FiftyOne stumbled over the same, e.g. a view that cannot be used."""
        try:
            return self._form(ctx).refused
        except Exception as error:
            logger.debug("the form of %s does not know why: %s", self.NAME, error)
            return None

    def _form(self, ctx: ExecutionContext) -> Form:
        form = Form(ctx, self.LABEL, self.BUTTON)
        with form.refusing():
            self.form(form)
        return form

    def _run(self, ctx: ExecutionContext, tell: Tell) -> dict[str, Any]:
        """Looks at the form once more, as a field may be gone since it was filled in; then does the work."""
        form = self._form(ctx)
        if form.refused is not None:
            raise InputError(form.refused)
        form.fill()
        return plain(self.run(ctx, tell))

    def _live(self, ctx: ExecutionContext) -> Iterator[Any]:
        work = Live(lambda tell: self._run(ctx, tell))
        for share, what in work.steps():
            yield ctx.ops.set_progress(label=what, progress=share)
        try:
            result = work.result()
            if self.RELOADS:
                yield ctx.ops.reload_dataset()
            yield from self.after(ctx, result)
            ctx.request_params["results"] = result
            outputs = self.resolve_output(ctx)
        except Exception as error:
            outputs, result = self._failure(error), {}
        if result and not self.WINDOW:
            yield ctx.ops.notify(result["said"], variant="info")
        else:
            yield ctx.ops.show_output(outputs.to_json(), result)

    def _failure(self, error: BaseException) -> types.Property:
        outputs = types.Object()
        view = types.AlertView(label="Not done", description=self._said(error), severity="error")
        outputs.view("said", view)
        return types.Property(outputs, view=types.View(label=self.LABEL))

    def _said(self, error: BaseException) -> str:
        said = sentence(error)
        if said is not None:
            return said
        logger.error("%s failed", self.NAME, exc_info=error)
        return (
            f"unexpected error: {type(error).__name__}: {' '.join(str(error).split())}; see the log of the App's server"
        )


def show_fields(ctx: ExecutionContext, *fields: str, instead_of: Collection[str] = ()) -> Iterator[Any]:
    """Makes the App draw some fields besides those that it draws; it looks at its buttons again, then, too.

    Args:
        ctx: of the operator.
        fields: to draw.
        instead_of: fields that are hidden when the first of them is drawn for the first time; what a person has chosen
            to see beside it later stays.
    """
    before = ctx.active_fields or []
    hidden = () if fields[0] in before else instead_of
    yield ctx.ops.set_active_fields([*(one for one in before if one not in fields and one not in hidden), *fields])


def show_colours(ctx: ExecutionContext, dataset: Any) -> Iterator[Any]:
    """Makes the App draw with the colours that are saved with the dataset, which it reads only when it opens one."""
    scheme = dataset.app_config.color_scheme
    if scheme is not None:
        yield ctx.trigger(f"{PLUGIN}/set_colours", {"by": scheme.color_by, "pool": list(scheme.color_pool or ())})


def _in_app(ctx: ExecutionContext) -> bool:
    """Whether the App asks, and is there to be told of steps: it sends its selection always, scripts never do."""
    return "selected_samples" in ctx.request_params
