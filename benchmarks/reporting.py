"""What all benchmarks share: options, Markdown tables, and the report with the command that made it."""

from __future__ import annotations

import argparse
import json
import os
import platform
import shlex
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any


def command_line(doc: str | None, *, data: bool = True) -> argparse.ArgumentParser:
    """A parser with the options that every benchmark has.

    Args:
        doc: the module's docstring, shown by ``--help``.
        data: whether it reads the real sequences.
    """
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", metavar="FILE.md", help="also write the report as Markdown")
    parser.add_argument("--json", metavar="FILE.json", help="also write the numbers as JSON")
    if data:
        parser.add_argument(
            "--data", metavar="FOLDER", help="holds data/ and baselines/ (default: SPAM_SHARED, ../shared)"
        )
        parser.add_argument("--sets", nargs="+", metavar="SET", help="only these sets")
        parser.add_argument("--sequences", nargs="+", metavar="NAME", help="only these sequences")
    return parser


def start(main: Callable[[], None]) -> None:
    """Call a benchmark; what a user can mend is told in one line, as the product does, with exit code 2."""
    from spam_plugin.models.errors import SpamPluginError

    try:
        main()
    except SpamPluginError as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        sys.exit(2)


def table(head: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """A Markdown table; floats get one decimal, None is a dash."""
    cells = [[_cell(value) for value in row] for row in rows]
    widths = [max(len(line[i]) for line in [list(head), *cells]) for i in range(len(head))]

    def line(values: Sequence[str]) -> str:
        return "| " + " | ".join(value.ljust(width) for value, width in zip(values, widths, strict=True)) + " |"

    rule = "|" + "|".join("-" * (width + 2) for width in widths) + "|"
    return "\n".join([line(head), rule, *map(line, cells)])


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    return f"{value:.1f}" if isinstance(value, float) else str(value)


def publish(args: argparse.Namespace, title: str, parts: Sequence[str], numbers: Any = None) -> None:
    """Print the report, and write it and its numbers where the options say."""
    body = "\n\n".join(parts)
    print(body)
    if args.json:
        _write(args.json, json.dumps(numbers, indent=1, default=float) + "\n")
    if args.out:
        command = shlex.join(["python", _relative(sys.argv[0]), *sys.argv[1:]])
        _write(args.out, f"# {title}\n\nMade by `{command}` on {machine()}.\n\n{body}\n")


def machine() -> str:
    """Processor, system and versions that bear on the numbers, in words."""
    import numpy
    import torch

    cpu = next(
        (
            line.split(":", 1)[1].strip()
            for line in _read("/proc/cpuinfo").splitlines()
            if line.startswith("model name")
        ),
        platform.processor() or "an unknown processor",
    )
    versions = f"Python {platform.python_version()}, torch {torch.__version__}, numpy {numpy.__version__}"
    return f"{cpu} ({os.cpu_count()} cores), {platform.system()}, {versions}"


def _read(path: str) -> str:
    try:
        return Path(path).read_text()
    except OSError:
        return ""


def _relative(path: str) -> str:
    """The script as one would call it from the project's root."""
    root = Path(__file__).resolve().parents[1]
    full = Path(path).resolve()
    return str(full.relative_to(root)) if full.is_relative_to(root) else path


def _write(path: str, text: str) -> None:
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Path(path).write_text(text)
