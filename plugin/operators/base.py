"""What every operator of ours does alike: a form that refuses, live progress, and errors in a sentence."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, ClassVar

import fiftyone.operators as foo
from fiftyone.operators import types

from ...models.errors import SpamPluginError
from .forms import Form, sentence
from .live import Live, Tell, plain

if TYPE_CHECKING:
    from fiftyone.operators.executor import ExecutionContext

PLUGIN = "@spam-plugin/spam"
SHORT_SECONDS = 60.0  # work that is expected to take longer is offered to a worker first

logger = logging.getLogger(__name__)


class SpamOperator(foo.Operator):
    """An operator with a form, that runs while the App shows a bar, or in a worker.

    A subclass says its names, what its form holds (``form``) and what it does (``run``).
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

    @property
    def config(self) -> foo.OperatorConfig:
        """What FiftyOne asks for."""
        return foo.OperatorConfig(
            name=self.NAME, label=self.LABEL, description=self.HELP, icon=self.ICON or None, dynamic=True,
            execute_as_generator=True, allow_delegated_execution=self.LONG, unlisted=self.UNLISTED,
        )  # fmt: skip

    def form(self, form: Form) -> None:
        """Puts fields and a preview into the form.

        Raises:
            SpamPluginError: for what cannot be done; it is shown in the form.
        """

    def run(self, ctx: ExecutionContext, tell: Tell) -> dict[str, Any]:
        """Does the work. Returns what to show: ``said``, a sentence, and plain values of the operator's own."""
        raise NotImplementedError(self.NAME)

    def seconds(self, ctx: ExecutionContext) -> float:
        """How long the work is expected to take."""
        return 0.0

    def fits(self, ctx: ExecutionContext) -> bool:
        """Whether its button is a next natural step, and so is shown."""
        return True

    def after(self, ctx: ExecutionContext, result: dict[str, Any]) -> Iterator[Any]:
        """What the App has to do when the work is done, e.g. ``yield ctx.ops.set_view(...)``."""
        return iter(())

    # --- what FiftyOne calls

    def resolve_input(self, ctx: ExecutionContext) -> types.Property:
        """The form."""
        form = Form(ctx, self.LABEL, self.BUTTON)
        with form.refusing():
            self.form(form)
        return form.property()

    def resolve_placement(self, ctx: ExecutionContext) -> types.Placement | None:
        """Where the button is."""
        if not self.IN_TOOLBAR:
            return None
        try:
            if not self.fits(ctx):
                return None
        except Exception as error:  # a toolbar without a button beats an App without a toolbar
            logger.debug("%s has no button here: %s", self.NAME, error)
            return None
        return types.Placement(
            types.Places.SAMPLES_GRID_SECONDARY_ACTIONS, types.Button(label=self.LABEL, icon=self.ICON, prompt=True)
        )

    def resolve_execution_options(self, ctx: ExecutionContext) -> foo.ExecutionOptions:
        """Long work is offered to a worker first."""
        if not self.LONG:
            return foo.ExecutionOptions()
        try:
            long = self.seconds(ctx) > SHORT_SECONDS
        except Exception:  # the form says what is wrong
            long = False
        return foo.ExecutionOptions(allow_delegated_execution=True, default_choice_to_delegated=long)

    def execute(self, ctx: ExecutionContext) -> Any:
        """In a worker the result; in the App, what it is told step by step."""
        if ctx.delegated:
            return plain(self.run(ctx, lambda share, what: ctx.set_progress(share, what)))
        return self._live(ctx)

    def resolve_output(self, ctx: ExecutionContext) -> types.Property:
        """What was done, in a sentence."""
        outputs = types.Object()
        outputs.view("said", types.Notice(label=str((ctx.results or {}).get("said", "done"))))
        return types.Property(outputs, view=types.View(label=self.LABEL))

    def _live(self, ctx: ExecutionContext) -> Iterator[Any]:
        work = Live(lambda tell: plain(self.run(ctx, tell)))
        for share, what in work.steps():
            yield ctx.ops.set_progress(label=what, progress=share)
        try:
            result = work.result()
        except SpamPluginError as error:
            yield from self._failed(ctx, str(sentence(error)))
            return
        except Exception as error:
            said = sentence(error)
            if said is None:
                logger.exception("%s failed", self.NAME)
                said = f"unexpected error: {type(error).__name__}: {' '.join(str(error).split())}; see the log of the App"
            yield from self._failed(ctx, said)
            return
        if self.RELOADS:
            yield ctx.ops.reload_dataset()
        yield from self.after(ctx, result)
        yield ctx.ops.notify(result.get("said", "done"), variant="success")

    def _failed(self, ctx: ExecutionContext, said: str) -> Iterator[Any]:
        outputs = types.Object()
        outputs.view("said", types.Error(label=f"{self.LABEL}: not done", description=said))
        yield ctx.ops.show_output(outputs, {"said": said})
        yield ctx.ops.notify(said, variant="error")
