"""``spam-plugin doctor``: what is wrong with the installation, and how to mend it."""

from __future__ import annotations

import contextlib
import json
import logging
import sys
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from ...integrations.checking import Finding

_COLOURS = {"ok": "green", "warning": "yellow", "broken": "red"}


@click.command()
@click.argument("dataset", required=False)
@click.option("--json", "as_json", is_flag=True, help="Print what was found as JSON.")
@click.pass_context
def command(ctx: click.Context, dataset: str | None, as_json: bool) -> None:
    r"""Check the installation: Python, database, plugin, ffmpeg, GPU, jobs, CVAT, disks; and the videos of DATASET.

    One line for each check, and below it how to mend what is wrong. Nothing is changed. CVAT is looked at if CVAT_URL
    is set; no password is ever shown. Exits with 2 if something is broken; warnings do not count.

    \b
    Examples:
      spam-plugin doctor
      spam-plugin doctor street --json
    """
    out, found = sys.stdout, []
    if not ctx.obj["debug"]:  # a finding says it
        logging.getLogger(__name__.partition(".")[0]).setLevel(logging.ERROR)
    with contextlib.redirect_stdout(sys.stderr):
        for finding in examine(dataset):
            found.append(finding)
            if not as_json:
                click.echo(line(finding), file=out)
    broken = [finding for finding in found if finding.state == "broken"]
    if as_json:
        click.echo(json.dumps({"ok": not broken, "checks": [asdict(finding) for finding in found]}, indent=2))
    elif broken:
        click.echo(f"broken: {', '.join(finding.check for finding in broken)}", err=True)
    if broken:
        from ..cli import EXIT_USER_ERROR

        ctx.exit(EXIT_USER_ERROR)


def examine(dataset: str | None) -> Iterator[Finding]:
    """All checks, one after another.

    Args:
        dataset: whose videos are looked at; None for none.
    """
    from ...integrations import machine
    from ...integrations.cvat.doctor import check_cvat
    from ...integrations.fiftyone_ import doctor

    yield machine.check_python()
    yield machine.check_packages()
    yield machine.check_model()
    yield machine.check_gpu()
    yield machine.check_ffmpeg()
    database = doctor.check_database()
    yield database
    if database.state != "broken":  # else FiftyOne cannot even be imported
        yield doctor.check_settings()
        yield doctor.check_plugin()
        yield doctor.check_served()
        yield doctor.check_jobs()
        if dataset is not None:
            yield doctor.check_videos(dataset)
    yield check_cvat()
    yield machine.check_disk(_folders() if database.state != "broken" else ())


def line(finding: Finding) -> str:
    """A finding as a person reads it."""
    state = click.style(f"{finding.state:<8}", fg=_COLOURS[finding.state])
    said = f"{state} {finding.check:<13} {finding.said}"
    return f"{said}\n{'':22} to mend it: {finding.mend}" if finding.mend else said


def _folders() -> tuple[Path, ...]:
    import fiftyone as fo

    return Path(fo.config.database_dir), Path(fo.config.default_dataset_dir)
