"""Check what a wheel installs: ``spam_plugin`` with every module and every weights file, and nothing else."""

from __future__ import annotations

import sys
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
ROOMS = ("engine", "integrations", "models", "plugin")


def main(wheel: str) -> None:
    """Compare the names in ``wheel`` with the files of the rooms; exit with the difference if there is one."""
    names = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    files = [ROOT / "__init__.py", ROOT / "fiftyone.yml", *(ROOT / "assets").iterdir()]
    for room in ROOMS:
        files += (ROOT / room).rglob("*.py")
        files += (ROOT / room).rglob("manifest.json")  # of a source of FiftyOne's model zoo
        files += (path for path in (ROOT / room).rglob("weights/*") if path.suffix in {".safetensors", ".json", ".log"})
    expected = {f"spam_plugin/{path.relative_to(ROOT).as_posix()}" for path in files}
    if names != expected:
        sys.exit(f"{wheel}: missing {sorted(expected - names)}, not asked for {sorted(names - expected)}")
    weights = sum(name.endswith(".safetensors") for name in names)
    print(f"{wheel}: {len(names)} files, {weights} of them weights")


if __name__ == "__main__":
    main(sys.argv[1])
