"""Videos of MOTChallenge sequences that the FiftyOne App plays: H.264 from images, or plain dark ones without.

Browsers play H.264 in the pixel format yuv420p, whose sides are even. A side that is odd gets one more pixel at the
right or at the bottom, so that no pixel moves: a box's pixels are the same in the image and in the video. Relative
boxes are relative to the **video's** size, as everywhere in FiftyOne (``metadata.frame_width``, ``frame_height``).
"""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from ...models.errors import InputError, MissingError
from .atomic import replacing
from .sequence import Sequence

log = logging.getLogger(__name__)

_MADE_BY = "spam-plugin import-mot"  # in the video's comment: what may be replaced, and what it was made from
_RECIPE = 1  # to be raised when a change below should make old videos anew
_DARK = "0x202020"
_REMEDY = "see that its images are in order, all of one format, and that the disk of --media-dir has space"
# keyint: the App seeks to single frames; one keyframe in 15 makes that quick without much larger files.
_X264 = ["-c:v", "libx264", "-preset", "veryfast", "-crf", "20", "-g", "15", "-bf", "0", "-pix_fmt", "yuv420p"]

Progress = Callable[[int], None]


@dataclass(frozen=True)
class Video:
    """A video file that is complete.

    Attributes:
        path: absolute.
        width: of the encoded frames in pixels, even.
        height: of the encoded frames in pixels, even.
        frame_rate: frames per second.
        num_frames: its length.
    """

    path: Path
    width: int
    height: int
    frame_rate: float
    num_frames: int


def encode(sequence: Sequence, path: Path, progress: Progress | None = None) -> Video:
    """Makes the sequence's video, unless the file is there already and was made from the same images.

    It is written to a temporary name and renamed when it is complete.

    Args:
        sequence: the sequence, with or without images.
        path: the video's file name, ending in ``.mp4``.
        progress: called with the number of frames given to the encoder so far.

    Raises:
        MissingError: if ffmpeg is not installed.
        InputError: if an image cannot be read, if ffmpeg fails, or if ``path`` is a file that is not ours.
    """
    path = path.resolve()
    width, height = (side + side % 2 for side in sequence.size)
    video = Video(path, width, height, sequence.info.frame_rate, sequence.info.num_frames)
    comment = f"{_MADE_BY} {_fingerprint(sequence)}"
    if path.exists():
        there = _comment(path)
        if there == comment:
            return video
        if not there.startswith(_MADE_BY):
            raise InputError(f"{path}: is there already and was not made by import-mot; choose another --media-dir")
    # ffmpeg fills what is missing of a truncated JPEG with grey and says nothing.
    sequence.check_images(decode=True)
    with replacing(path) as temporary:
        command = _command(sequence, video, comment, temporary)
        _run(command, sequence, progress)
        made = _count_frames(temporary)
        if made != video.num_frames:
            raise InputError(f"sequence {sequence.name}: ffmpeg wrote {made} of {video.num_frames} frames; {_REMEDY}")
    return video


def _command(sequence: Sequence, video: Video, comment: str, target: Path) -> list[str]:
    rate = f"{sequence.info.frame_rate:g}"
    if sequence.images:
        # Images come through a pipe: file names may hold anything, and their numbers may start anywhere.
        source = ["-f", "image2pipe", "-framerate", rate, "-c:v", _codec(sequence), "-i", "pipe:0"]
        filters = ["-vf", f"pad={video.width}:{video.height}:0:0"]
    else:
        source = ["-f", "lavfi", "-i", f"color=c={_DARK}:s={video.width}x{video.height}:r={rate}"]
        filters = []
    return [
        *[_tool("ffmpeg"), "-nostdin", "-y", "-loglevel", "error", "-xerror"],
        *source,
        *filters,
        *["-frames:v", str(video.num_frames), *_X264],
        *["-metadata", f"comment={comment}", "-movflags", "+faststart", str(target)],
    ]


def _codec(sequence: Sequence) -> str:
    """What ffmpeg calls the format of the images; it cannot always tell it from a pipe, and a suffix may be wrong."""
    from PIL import Image

    with Image.open(sequence.images[0]) as image:
        kind = image.format or ""
    codecs = {"JPEG": "mjpeg", "MPO": "mjpeg", "PNG": "png", "BMP": "bmp"}
    if kind not in codecs:
        raise InputError(f"{sequence.images[0]}: is of the format {kind}; images must be JPEG, PNG or BMP")
    return codecs[kind]


def _run(command: list[str], sequence: Sequence, progress: Progress | None) -> None:
    """Runs ffmpeg, feeding it the images; it never outlives this call.

    Raises:
        InputError: if it fails.
    """
    source = subprocess.PIPE if sequence.images else subprocess.DEVNULL
    # Errors go to a file: a pipe that nobody reads while images are fed would fill up and stop both sides.
    with tempfile.TemporaryFile() as errors:
        process = subprocess.Popen(command, stdin=source, stdout=subprocess.DEVNULL, stderr=errors)
        try:
            if process.stdin is not None:
                _feed(process.stdin, sequence, progress)
            process.communicate()
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()
        errors.seek(0)
        said = errors.read().decode("utf-8", "replace").strip()
    if process.returncode:
        lines = said.splitlines() or [f"exit status {process.returncode}"]
        raise InputError(f"sequence {sequence.name}: ffmpeg failed ({lines[0].strip()}); {_REMEDY}")
    if progress:
        progress(sequence.info.num_frames)


def _feed(pipe: IO[bytes], sequence: Sequence, progress: Progress | None) -> None:
    try:
        for done, image in enumerate(sequence.images):
            with image.open("rb") as file:
                shutil.copyfileobj(file, pipe)
            if progress:
                progress(done)
    except BrokenPipeError:  # ffmpeg has ended early; its own words say why
        pass


def _fingerprint(sequence: Sequence) -> str:
    """Digest of everything the video depends on; of images it takes name, size and time, not the pixels."""
    digest = hashlib.sha256(repr((_RECIPE, sequence.info)).encode())
    for image in sequence.images:
        stat = image.stat()
        digest.update(repr((image.name, stat.st_size, stat.st_mtime_ns)).encode())
    return digest.hexdigest()[:20]


def _comment(path: Path) -> str:
    return str(_probe(path, "format_tags=comment").get("format", {}).get("tags", {}).get("comment", ""))


def _count_frames(path: Path) -> int:
    streams = _probe(path, "stream=nb_frames").get("streams") or [{}]
    return int(streams[0].get("nb_frames", 0))


def _probe(path: Path, entries: str) -> dict:
    """What ffprobe says of a file; nothing of one that is no video."""
    command = [_tool("ffprobe"), "-v", "error", "-show_entries", entries, "-of", "json", str(path)]
    answer = subprocess.run(command, capture_output=True, check=False)
    return json.loads(answer.stdout or b"{}")


def _tool(name: str) -> str:
    found = shutil.which(name)
    if found is None:
        raise MissingError(f"{name} is not installed; install ffmpeg (Debian and Ubuntu: apt install ffmpeg)")
    return found
