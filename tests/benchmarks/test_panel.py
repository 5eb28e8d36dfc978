"""The benchmark of the panel, on a small dataset."""

import json
import os
import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).resolve().parents[2] / "benchmarks" / "panel.py"


def test_the_panels_numbers_are_measured_on_boxes_that_are_there(tmp_path):
    command = [
        sys.executable,
        SCRIPT,
        "--quick",
        "--repeat",
        "2",
        "--json",
        tmp_path / "n.json",
        "--out",
        tmp_path / "n.md",
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=os.environ)
    assert done.returncode == 0, done.stderr
    numbers = json.loads((tmp_path / "n.json").read_text())
    assert numbers["standing"]["boxes"] == numbers["boxes"] == 12 * 20 * 4
    assert numbers["standing"]["human_boxes"] == 12 * 3
    assert 0 < numbers["standing"]["open_queries"] < 12 * 6
    assert numbers["standing"]["clicks_spent"] == 12 * 6 - numbers["standing"]["open_queries"]
    assert "12 videos, 960 boxes" in (tmp_path / "n.md").read_text()
