"""Make the peers' virtual environments: one each, since their packages clash with ours and with each other's.

    python benchmarks/peers/install.py [boxmot] [trackers] [norfair] [opencv]

Each lands in ``.venv-NAME`` of the project's root, which git ignores, so nothing of a peer mixes with the product.
boxmot asks for PyTorch: to have its CPU build, point pip at it as usual (``PIP_EXTRA_INDEX_URL``).
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

# One call of pip for each tuple, in this order. The versions are those of the tables in docs/benchmarks.
REQUIREMENTS: dict[str, tuple[tuple[str, ...], ...]] = {
    "boxmot": (("torch==2.13.0",), ("torch==2.13.0", "boxmot==25.0.0")),
    "trackers": (("trackers==2.6.1",),),
    "norfair": (("norfair==2.3.0",),),
    "opencv": (("opencv-contrib-python-headless==5.0.0.93",),),
}


def python_of(venv: str) -> Path:
    """The interpreter of a peer's environment, whether or not it is there yet."""
    return ROOT / f".venv-{venv}" / "bin" / "python"


def install(venv: str) -> None:
    """Make the environment if it is missing, and (re)install the pinned packages in it."""
    python = python_of(venv)
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", str(python.parents[1])], check=True)
    for packages in REQUIREMENTS[venv]:
        subprocess.run([str(python), "-m", "pip", "install", "--quiet", *packages], check=True)


def main() -> None:
    """Install the environments named on the command line, all of them if none is."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("venv", nargs="*", help=f"which environments: {', '.join(REQUIREMENTS)} (default: all)")
    args = parser.parse_args()
    unknown = sorted(set(args.venv) - set(REQUIREMENTS))
    if unknown:
        parser.error(f"unknown environment {unknown[0]!r}; known: {', '.join(REQUIREMENTS)}")
    for venv in args.venv or REQUIREMENTS:
        install(venv)
        print(f"{venv}: ready at {python_of(venv).parents[1]}")


if __name__ == "__main__":
    main()
