from __future__ import annotations

import subprocess
import sys

import click
import pytest

from spam_plugin.models.errors import InputError, MissingError
from spam_plugin.plugin import cli


@pytest.fixture
def failing(monkeypatch):
    """Put one command into the table that raises what a test asks for; returns a function that runs it."""

    def install(error: BaseException | None, *args: str) -> int:
        @click.command()
        @click.option("--size", type=int)
        def command(size: int | None) -> int:
            if error is not None:
                raise error
            return 7

        def get_command(self, ctx, name):
            return command if name == "boom" else None

        monkeypatch.setattr(cli.LazyGroup, "get_command", get_command)
        with pytest.raises(SystemExit) as stop:
            cli.main([*args])
        return stop.value.code

    return install


def test_help_imports_neither_torch_nor_fiftyone_nor_any_command():
    code = """if True:
        import sys
        from spam_plugin.plugin import cli
        try:
            cli.main(["--help"])
        except SystemExit as stop:
            assert stop.code == 0
        heavy = {"torch", "fiftyone", "numpy", "cvat_sdk", "matplotlib"} & set(sys.modules)
        commands = {m for m in sys.modules if m.startswith("spam_plugin.plugin.commands.")}
        assert not heavy and not commands, (heavy, commands)
    """
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    for name, row in cli.COMMANDS.items():
        assert name in done.stdout
        assert row.help in " ".join(done.stdout.split())


@pytest.mark.parametrize("name", list(cli.COMMANDS))
def test_every_row_of_the_table_resolves_and_its_help_shows_an_example(name, capsys):
    with pytest.raises(SystemExit) as stop:
        cli.main([name, "--help"])
    assert stop.value.code == 0
    told = capsys.readouterr().out
    assert f"spam-plugin {name} [OPTIONS]" in told
    assert "example" in told.lower()
    assert told.count(f"spam-plugin {name}") >= 2, "an example that can be copied"


@pytest.mark.parametrize("name", list(cli.COMMANDS))
def test_the_help_of_a_command_imports_neither_torch_nor_fiftyone(name):
    code = f"""if True:
        import sys
        from spam_plugin.plugin import cli
        try:
            cli.main([{name!r}, "--help"])
        except SystemExit:
            pass
        heavy = {{"torch", "fiftyone", "cvat_sdk"}} & set(sys.modules)
        assert not heavy, heavy
    """
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("error", [InputError("det.txt, line 3: 'x' is\nno number"), MissingError("no dataset 'a'")])
def test_an_error_that_the_user_can_mend_is_one_line_and_exit_code_2(failing, capsys, error):
    assert failing(error, "boom") == 2
    told = capsys.readouterr()
    assert told.err == f"error: {' '.join(str(error).split())}\n"
    assert told.out == ""


@pytest.mark.parametrize(
    "args", [("nonsense",), ("boom", "--size", "wide"), ("boom", "--nonsense"), ("--nonsense",)], ids=" ".join
)
def test_a_usage_error_exits_with_2(failing, capsys, args):
    assert failing(None, *args) == 2
    assert "Error: " in capsys.readouterr().err


def test_an_interruption_exits_with_130_and_says_that_the_run_can_go_on(failing, capsys):
    assert failing(KeyboardInterrupt(), "boom") == 130
    assert "start the same command again" in capsys.readouterr().err


def test_an_unexpected_error_is_told_in_short_and_says_how_to_see_more(failing, capsys):
    assert failing(ZeroDivisionError("division by zero"), "boom", "--size", "3") == 1
    told = capsys.readouterr().err
    assert "unexpected error: ZeroDivisionError: division by zero" in told
    assert "spam-plugin --debug boom --size 3" in told
    assert "Traceback" not in told


def test_debug_shows_the_traceback_of_an_unexpected_error(failing, capsys):
    assert failing(ZeroDivisionError("division by zero"), "--debug", "boom") == 1
    assert "Traceback" in capsys.readouterr().err


def test_what_a_command_returns_is_not_its_exit_code(failing):
    assert failing(None, "boom") == 0


def test_the_version_is_printed(capsys):
    with pytest.raises(SystemExit) as stop:
        cli.main(["--version"])
    assert stop.value.code == 0
    assert "0.1.0" in capsys.readouterr().out
