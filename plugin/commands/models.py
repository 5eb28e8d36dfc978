"""``spam-plugin models``: which trained versions there are, what they are worth, and which one is used."""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Callable
from datetime import datetime
from typing import Any

import click

ACTIONS = {  # -> what it needs
    "list": (), "compare": ("A", "B"), "show": ("NAME",), "use": ("NAME",), "back": (), "export": ("NAME", "FOLDER"),
    "remove": ("NAME",),
}  # fmt: skip


@click.command()
@click.argument("dataset")
@click.argument("action", type=click.Choice(list(ACTIONS)), default="list")
@click.argument("names", nargs=-1)
@click.option("--out", default="spam_tracks", show_default=True, metavar="FIELD", help="The tracks they are for.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of text, and nothing else.")
def command(dataset: str, action: str, names: tuple[str, ...], out: str, as_json: bool) -> None:
    """List the trained versions of DATASET, compare them, choose which one is used, and go back.

    \b
    Actions:
      list                what there is, and which one is in use
      show NAME           all that is known of a version
      compare A B         two versions side by side
      use NAME            label, detect, embed and fill with it from now on; "default" is what the package comes with
      back                use the version again that was in use before
      export NAME FOLDER  copy its weights and its description
      remove NAME         delete it

    A version that is retrained or adapted is used by itself only if it is better on what was held out; else it waits
    here, and the list says why. JSON of list is {"in_use": name, "versions": [{"name", "parent", "retrained", ...}]}.

    \b
    Examples:
      spam-plugin models street
      spam-plugin models street use v003
      spam-plugin models street back
    """  # noqa: D301 (click reads the control character)
    needed = ACTIONS[action]
    if len(names) != len(needed):
        from ...models.errors import InputError

        raise InputError(
            f"`models DATASET {action}` takes {' '.join(needed) or 'nothing more'}, not {len(names)} words"
        )
    # FiftyOne writes what it has to say to standard output, which here belongs to the result.
    with contextlib.redirect_stdout(sys.stderr):
        from ...integrations.fiftyone_.dataset import open_dataset
        from ...integrations.fiftyone_.shelf import Shelf

        shelf = Shelf(open_dataset(dataset), out)
        values, tell = _ACT[action](shelf, *names)
    if as_json:
        click.echo(json.dumps(values, indent=2, allow_nan=False, default=str))
    else:
        tell()


Done = tuple[Any, Callable[[], None]]  # what JSON says, and what tells a person


def _list(shelf: Any) -> Done:
    versions, used = shelf.versions(), shelf.in_use()
    values = {"in_use": used.name, "parts": _files(used), "versions": [_plain(version, used) for version in versions]}
    return values, lambda: _print_list(versions, used)


def _show(shelf: Any, name: str) -> Done:
    version = shelf.get(name)
    values = _plain(version, shelf.in_use())
    return values, lambda: click.echo(json.dumps(values, indent=2, default=str))


def _compare(shelf: Any, one: str, two: str) -> Done:
    from ...engine.versions import compare

    rows = compare(shelf.get(one), shelf.get(two))
    return [{"what": what, one: a, two: b} for what, a, b in rows], lambda: _print_rows(rows, one, two)


def _use(shelf: Any, name: str) -> Done:
    return _now(shelf.use(name))


def _back(shelf: Any) -> Done:
    return _now(shelf.back())


def _export(shelf: Any, name: str, folder: str) -> Done:
    written = shelf.export(name, folder)
    return {"exported": name, "folder": str(written)}, lambda: click.echo(f"wrote {name} to {written}")


def _remove(shelf: Any, name: str) -> Done:
    shelf.remove(name)
    return {"removed": name}, lambda: click.echo(f"removed {name}")


_ACT: dict[str, Callable[..., Done]] = {
    "list": _list, "show": _show, "compare": _compare, "use": _use, "back": _back, "export": _export,
    "remove": _remove,
}  # fmt: skip


def _now(version: Any) -> Done:
    files = _files(version)

    def tell() -> None:
        click.echo(f"{version.name} is in use now")
        for part, file in files.items():
            click.echo(f"  {part}: {file or 'default'}")

    return {"in_use": version.name, "parts": files}, tell


def _files(version: Any) -> dict[str, str | None]:
    from ...engine.versions import PARTS

    return {part: str(version.parts[part]) if part in version.parts else None for part in PARTS}


def _plain(version: Any, used: Any) -> dict[str, Any]:
    return {
        **version.as_dict(), "in_use": version.name == used.name, "promoted": version.promoted, "why": version.why,
        "is_there": version.is_there,
    }  # fmt: skip


def _print_list(versions: list[Any], used: Any) -> None:
    from rich.console import Console
    from rich.table import Table

    from ...engine.versions import flat

    click.echo(f"in use: {used.name}")
    if not versions:
        click.echo("nothing was trained yet; `spam-plugin retrain` and `spam-plugin adapt` make versions")
        return
    table = Table()
    for title in ("version", "made", "parent", "retrained", "answers", "promoted"):
        table.add_column(title, justify="right" if title == "answers" else "left")
    for version in versions:
        made = datetime.fromtimestamp(version.made).astimezone().strftime("%Y-%m-%d %H:%M")
        mark = " (in use)" if version.name == used.name else "" if version.is_there else " (not here)"
        table.add_row(
            version.name + mark, made, version.parent, ", ".join(version.retrained), str(len(version.answers)),
            "yes" if version.promoted else "no",
        )  # fmt: skip
    Console().print(table)
    for version in versions:
        numbers = {name: value for name, value in flat(version.metrics).items() if isinstance(value, int | float)}
        metrics = ", ".join(f"{name} {value:.4g}" for name, value in list(numbers.items())[:4])
        click.echo(f"{version.name}: {version.why}{f' ({metrics})' if metrics else ''}")


def _print_rows(rows: list[tuple[str, Any, Any]], one: str, two: str) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table("", one, two)
    for what, a, b in rows:
        table.add_row(what, *(f"{v:.4g}" if isinstance(v, float) else "-" if v is None else str(v) for v in (a, b)))
    Console().print(table)
