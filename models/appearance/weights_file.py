"""Where the default weights of the appearance lie; told without torch."""

from pathlib import Path

DEFAULT_WEIGHTS = Path(__file__).parent / "weights" / "appearance-1.safetensors"
