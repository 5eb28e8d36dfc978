"""A video that shows the same picture twice, side by side: the App plays one video at a time, so two play in one."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from hashlib import blake2b
from pathlib import Path

import fiftyone as fo

from ...models.errors import InputError, MissingError
from ..mot.atomic import replacing
from .videos import StoredVideo

WIDEST = 960  # pixels of one half: enough to see boxes on, and quick to make

# keyint: the App seeks to single frames; one keyframe in 15 makes that quick without much larger files.
_X264 = ["-c:v", "libx264", "-preset", "ultrafast", "-crf", "24", "-g", "15", "-bf", "0", "-pix_fmt", "yuv420p"]


def double(video: StoredVideo, folder: Path) -> tuple[Path, fo.VideoMetadata]:
    """Makes the video, unless it is in the folder already and was made from the same file or images.

    Args:
        video: a video sample, or an image sequence; of that every image is one frame, whatever its number.
        folder: that it goes to.

    Raises:
        MissingError: if ffmpeg is not installed.
        InputError: if ffmpeg fails; nothing is left behind then.
    """
    info = video.info()
    files = video.dataset.select(list(video.sample_ids), ordered=True).values("filepath")
    frames = info.num_frames if video.image_frame is None else len(files)
    scale = min(1.0, WIDEST / info.width)
    width, height = (2 * max(round(side * scale / 2), 1) for side in (info.width, info.height))
    path = folder / f"{_fingerprint(files, width)}.mp4"
    if not path.exists():
        with replacing(path) as temporary, tempfile.NamedTemporaryFile("w", suffix=".txt") as names:
            source = ["-i", files[0]]
            if video.image_frame is not None:
                names.write("ffconcat version 1.0\n" + "".join(f"file {_quoted(file)}\n" for file in files))
                names.flush()
                source = ["-r", f"{info.frame_rate:g}", "-f", "concat", "-safe", "0", "-i", names.name]
            _run(video, [*source, *_filters(width, height), *_X264, "-movflags", "+faststart", str(temporary)])
    metadata = fo.VideoMetadata(
        size_bytes=path.stat().st_size, mime_type="video/mp4", frame_width=2 * width, frame_height=height,
        frame_rate=info.frame_rate, total_frame_count=frames, duration=frames / info.frame_rate, encoding_str="avc1",
    )  # fmt: skip
    return path, metadata


def _filters(width: int, height: int) -> list[str]:
    halves = f"[0:v:0]setpts=PTS-STARTPTS,scale={width}:{height},setsar=1,split[left][right];[left][right]hstack[both]"
    return ["-filter_complex", halves, "-map", "[both]", "-an", "-fps_mode", "passthrough"]


def _quoted(file: str) -> str:
    """A path as ffmpeg's lists of files have it."""
    return "'" + str(Path(file).absolute()).replace("'", "'\\''") + "'"


def _fingerprint(files: list[str], width: int) -> str:
    digest = blake2b(str(width).encode(), digest_size=12)
    for file in files:
        try:
            state = Path(file).stat()
        except OSError as error:
            why = f"{file} cannot be read: {error.strerror}; replace the file or remove the sample"
            raise InputError(why) from error
        digest.update(f"{file}\0{state.st_size}\0{state.st_mtime_ns}\0".encode())
    return digest.hexdigest()


def _run(video: StoredVideo, arguments: list[str]) -> None:
    ffmpeg = shutil.which("ffmpeg")
    if ffmpeg is None:
        raise MissingError("ffmpeg is not installed; install it (Debian and Ubuntu: apt install ffmpeg)")
    command = [ffmpeg, "-nostdin", "-y", "-loglevel", "error", *arguments]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, check=False)
    if done.returncode:
        lines = done.stderr.decode("utf-8", "replace").strip().splitlines() or [f"exit status {done.returncode}"]
        raise InputError(
            f"{video.title()}: ffmpeg failed ({lines[-1].strip()}); see that the file plays and the disk has space"
        )
