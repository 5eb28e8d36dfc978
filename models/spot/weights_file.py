"""Where the default weights of the tracker lie; told without torch."""

from pathlib import Path

DEFAULT_WEIGHTS = Path(__file__).parent / "weights" / "spot-2.safetensors"
