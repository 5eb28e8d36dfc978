"""The command line ``spam-plugin``: a group whose sub-commands are imported only when they are called."""

from __future__ import annotations

import importlib
import logging
import os
import sys
import traceback
from collections.abc import Sequence
from typing import NamedTuple

import click

from .. import __version__
from ..models.errors import SpamPluginError

EXIT_UNEXPECTED = 1
EXIT_USER_ERROR = 2
EXIT_PARTLY = 3  # done but for what was named; only commands that go on after a problem exit so
EXIT_INTERRUPTED = 130


class Row(NamedTuple):
    """Where a sub-command lives: its module under ``plugin/commands``, the attribute there, and its one-line help."""

    module: str
    attribute: str
    help: str


# One row per sub-command, in the order in which --help shows them. The help stands here and not only in the module, so
# that ``spam-plugin --help`` imports none of them.
COMMANDS: dict[str, Row] = {
    "app": Row("app", "command", "Open the FiftyOne App with the plugin, its panel and a worker."),
    "import-mot": Row("import_mot", "command", "Import MOTChallenge folders as a dataset."),
    "export-mot": Row("export_mot", "command", "Write tracks as MOTChallenge text."),
    "detect": Row("detect", "command", "Find candidates in every frame, with any detector."),
    "embed": Row("embed", "command", "Store with every candidate how it looks, for label --embeddings."),
    "label": Row("label", "command", "Make tracks with calibrated uncertainty of the candidates."),
    "queries": Row("queries", "command", "Choose what to ask a person next, within a budget."),
    "answer": Row("answer", "command", "Keep people's answers; the next label keeps to them."),
    "propagate": Row("propagate", "command", "Fill the gaps between a few human boxes of each object."),
    "sync": Row("sync", "command", "Send what needs people to CVAT, and bring back what they did."),
    "webhook": Row("webhook", "command", "Synchronise whenever CVAT says that something has changed."),
    "worker": Row("worker", "command", "Run the jobs that the App hands over, the oldest first."),
    "models": Row("models", "command", "Trained versions: list, compare, choose, go back, export, remove."),
    "retrain": Row("retrain", "command", "Train the models further on what people said, and use them if better."),
    "adapt": Row("adapt", "command", "Have the tracker that fills gaps learn from a few boxes, and use it if better."),
    "run": Row("run", "command", "The loop in one command: detect, label, ask, wait, take answers, retrain."),
    "simulate": Row("simulate", "command", "What labels would be worth after so many clicks, from ground truth."),
    "evaluate": Row("evaluate", "command", "Score tracks against ground truth: HOTA, MOTA, IDF1 and kin."),
    "pretrain": Row("pretrain", "command", "Make weights of your own from simulated streams."),
    "pretrain-detector": Row("pretrain_detector", "command", "Make a detector of your own from rendered pictures."),
    "pretrain-appearance": Row("pretrain_appearance", "command", "Make an appearance network of your own, likewise."),
    "pretrain-tracker": Row("pretrain_tracker", "command", "Make a tracker of your own, likewise."),
    "doctor": Row("doctor", "command", "Check the installation, and say how to mend what is wrong."),
    "demo": Row("demo", "command", "Label a few rendered or given videos and print what the labels are worth."),
}


class LazyGroup(click.Group):
    """A click group over ``COMMANDS`` that imports a sub-command's module when it is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Names in the order of the table."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import and return one sub-command, or None for an unknown name."""
        row = COMMANDS.get(cmd_name)
        if row is None:
            return None
        module = importlib.import_module(f".commands.{row.module}", __package__)
        command = getattr(module, row.attribute)
        if not isinstance(command, click.Command):
            raise TypeError(f"{module.__name__}.{row.attribute} is not a click command")
        command.name = cmd_name
        return command

    def invoke(self, ctx: click.Context) -> None:
        """Run the sub-command and drop what it returns, so that only ``ctx.exit(code)`` sets an exit code."""
        super().invoke(ctx)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the sub-commands from the table, without importing them."""
        if COMMANDS:
            with formatter.section("Commands"):
                formatter.write_dl([(name, row.help) for name, row in COMMANDS.items()])


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(__version__, prog_name="spam-plugin")
@click.option("--debug", is_flag=True, help="Log everything, and show where an unexpected error came from.")
@click.option("-q", "--quiet", is_flag=True, help="Log and show progress only where something is wrong.")
@click.pass_context
def cli(ctx: click.Context, debug: bool, quiet: bool) -> None:
    """Label video for multi-object tracking in FiftyOne: boxes in, tracks with calibrated uncertainty out.

    Each command explains itself: spam-plugin COMMAND --help
    """
    ctx.obj = {"debug": debug, "quiet": quiet}
    level = logging.DEBUG if debug else logging.WARNING if quiet else logging.INFO
    # FiftyOne would tell of the age of its own MongoDB at the start of every command.
    os.environ.setdefault("FIFTYONE_DATABASE_VALIDATION", "false")
    logging.basicConfig(stream=sys.stderr, format="%(message)s", level=logging.WARNING)
    logging.getLogger(__name__.split(".")[0]).setLevel(level)


def main(args: Sequence[str] | None = None) -> None:
    """Run the command line and exit.

    0 done, 1 unexpected error, 2 an error the user can mend, 3 done but for what was named, 130 interrupted.

    Args:
        args: what to parse instead of ``sys.argv[1:]``.

    Raises:
        SystemExit: always.
    """
    args = list(sys.argv[1:] if args is None else args)
    sys.exit(_run(args))


def _run(args: list[str]) -> int:
    """Run the command line and return its exit code; every way to fail is put into words here."""
    # Looked up before click parses, so that an error inside the parsing of a sub-command is shown as asked, too.
    debug = "--debug" in args
    try:
        result = cli.main(args=args, prog_name="spam-plugin", standalone_mode=False)
    except SpamPluginError as error:
        _say(f"error: {_one_line(error)}")
        return EXIT_USER_ERROR
    except click.ClickException as error:
        error.show()
        return EXIT_USER_ERROR
    except (click.Abort, KeyboardInterrupt):
        _say("interrupted: what was finished is kept; start the same command again to do the rest")
        return EXIT_INTERRUPTED
    except Exception as error:
        if debug:
            _say(traceback.format_exc().rstrip())
        else:
            _say(f"unexpected error: {type(error).__name__}: {_one_line(error)}")
            _say(f"to see where it came from: spam-plugin --debug {' '.join(args)}".rstrip())
        return EXIT_UNEXPECTED
    return result if isinstance(result, int) else 0


def _say(line: str) -> None:
    click.echo(line, err=True)


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__
