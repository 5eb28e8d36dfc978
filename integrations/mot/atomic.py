"""Files that appear whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary name beside ``path`` to write to; becomes ``path`` if the block ends well, and goes if it does not.

    Args:
        path: where the file shall be; its folder is made, an earlier file of the name stays until the new one is whole.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    # The suffix stays the last, because ffmpeg takes the format from it.
    temporary = path.with_name(f".{path.stem}.{os.getpid()}.part{path.suffix}")
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
