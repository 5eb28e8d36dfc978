"""Checks of the machine: Python and packages, weights, ffmpeg, GPU, space on the disks."""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path

from .checking import BROKEN, OK, WARNING, Finding, check

DISTRIBUTION = "spam-plugin"
LITTLE, NOTHING = 5 << 30, 500 << 20  # bytes that are free on a disk
SHOWN = ("fiftyone", "torch", "torch-geometric", "cvat-sdk", "numpy")  # with their versions, if all is well


@check("Python")
def check_python() -> Finding:
    """Whether this Python is new enough."""
    said = f"{platform.python_version()} ({sys.executable})"
    required = _required_python()
    if required is not None and sys.version_info[:2] < required:
        least = ".".join(map(str, required))
        return Finding(BROKEN, said, f"{DISTRIBUTION} needs Python {least} or newer: make a new virtual environment")
    return Finding(OK, said)


@check("packages")
def check_packages() -> Finding:
    """Whether all that we need is installed, in versions that we work with."""
    from packaging.requirements import Requirement

    try:
        required, ours = metadata.requires(DISTRIBUTION) or [], metadata.version(DISTRIBUTION)
    except metadata.PackageNotFoundError:
        return Finding(
            BROKEN, f"{DISTRIBUTION} itself is not installed for {sys.executable}", f"pip install {DISTRIBUTION}"
        )
    wrong, versions = [], {}
    for line in required:
        requirement = Requirement(line)
        if requirement.marker is not None and not requirement.marker.evaluate({"extra": ""}):
            continue
        try:
            versions[requirement.name] = metadata.version(requirement.name)
        except metadata.PackageNotFoundError:
            wrong.append((requirement, "missing"))
            continue
        if not requirement.specifier.contains(versions[requirement.name], prereleases=True):
            wrong.append((requirement, versions[requirement.name]))
    if wrong:
        said = ", ".join(f"{one.name} {have} (needs {one.specifier})" for one, have in wrong)
        return Finding(BROKEN, said, f"{sys.executable} -m pip install " + " ".join(f"'{one}'" for one, _ in wrong))
    shown = [f"{name} {versions[name]}" for name in SHOWN if name in versions]
    return Finding(OK, ", ".join([f"{DISTRIBUTION} {ours}", *shown]))


@check("model")
def check_model() -> Finding:
    """Whether the default weights are there and can be read."""
    from ..models.errors import SpamPluginError
    from ..models.spam import SpamModel

    try:
        model = SpamModel.load()
    except SpamPluginError as error:
        return Finding(BROKEN, str(error), f"pip install --force-reinstall --no-deps {DISTRIBUTION}")
    return Finding(OK, f"default weights {model.version}")


@check("ffmpeg")
def check_ffmpeg() -> Finding:
    """Whether videos can be read, and made."""
    install = "install ffmpeg (Debian and Ubuntu: apt install ffmpeg)"
    missing = [name for name in ("ffmpeg", "ffprobe") if shutil.which(name) is None]
    if missing:
        return Finding(BROKEN, f"{' and '.join(missing)} not found: videos can neither be read nor made", install)
    encoders = subprocess.run(["ffmpeg", "-hide_banner", "-encoders"], capture_output=True, text=True, check=False)
    found = re.search(r"ffmpeg version (\S+)", subprocess.run(["ffmpeg", "-version"], capture_output=True, text=True,
                                                               check=False).stdout)  # fmt: skip
    said = f"ffmpeg {found.group(1) if found else 'of unknown version'}"
    if "libx264" not in encoders.stdout:
        return Finding(
            WARNING, f"{said} cannot write H.264 (no libx264): import-mot and demo make no videos",
            f"{install}, of a build with libx264",
        )  # fmt: skip
    return Finding(OK, said)


@check("GPU")
def check_gpu() -> Finding:
    """Whether torch can use a GPU; without one all works, slower."""
    import torch

    if torch.cuda.is_available():
        names = {torch.cuda.get_device_name(number) for number in range(torch.cuda.device_count())}
        return Finding(OK, f"{', '.join(sorted(names))} (CUDA {torch.version.cuda})")
    if shutil.which("nvidia-smi") is not None and subprocess.run(["nvidia-smi", "-L"], capture_output=True).stdout:
        build = f"is built for CUDA {torch.version.cuda}" if torch.version.cuda else "is built without CUDA"
        return Finding(
            WARNING, f"there is a GPU, but torch {torch.__version__} {build} and does not see it: the processor works",
            "install the torch that fits the driver: https://pytorch.org/get-started/locally",
        )  # fmt: skip
    return Finding(OK, "none: the processor does the work")


@check("disk")
def check_disk(folders: Iterable[Path] = ()) -> Finding:
    """Whether there is room for what is written.

    Args:
        folders: that are written to, besides those for caches and for files that pass.
    """
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    disks: dict[int, tuple[Path, int]] = {}
    for folder in (*folders, home, Path(tempfile.gettempdir())):
        there = next(path for path in (folder, *folder.resolve().parents) if path.exists())
        disks.setdefault(there.stat().st_dev, (there, shutil.disk_usage(there).free))
    said = ", ".join(f"{free / (1 << 30):.1f} GB free at {path}" for path, free in disks.values())
    least = min(free for _, free in disks.values())
    if least < LITTLE:
        full = [str(path) for path, free in disks.values() if free < LITTLE]
        return Finding(BROKEN if least < NOTHING else WARNING, said, f"make room on the disk of {' and '.join(full)}")
    return Finding(OK, said)


def _required_python() -> tuple[int, ...] | None:
    try:
        found = re.search(r">=\s*(\d+)\.(\d+)", metadata.metadata(DISTRIBUTION)["Requires-Python"] or "")
    except (metadata.PackageNotFoundError, KeyError):
        return None
    return tuple(map(int, found.groups())) if found else None
