"""Videos and images: what is in them, and their frames and chunks."""

from __future__ import annotations

import hashlib
import io
import mimetypes
import re
import tempfile
import zipfile
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from PIL import Image

Record = dict[str, Any]
FULL_HD = 1920 * 1080


class BadMediaError(Exception):
    """What was sent is no video and no image; the message goes into the failed background request."""


def keep(folder: Path, name: str, content: bytes) -> Record:
    """Put a file's content into the folder under its hash, and describe it."""
    sha = hashlib.sha256(content).hexdigest()
    path = folder / sha
    if not path.exists():
        path.write_bytes(content)
    return {"name": name, "size": len(content), "sha": sha, "path": str(path)}


def describe(path: Path, name: str) -> Record:
    """Describe a file that stays where it is, as on a share."""
    content = path.read_bytes()
    return {"name": name, "size": len(content), "sha": hashlib.sha256(content).hexdigest(), "path": str(path)}


def read_files(media: Record, files: list[Record], parameters: Record) -> None:
    """Open the files and write into the media record how many frames there are and how large they are."""
    kinds = [str(mimetypes.guess_type(file["name"])[0]).split("/")[0] for file in files]
    if kinds == ["video"]:
        frames, total = _open_video(files[0]), _count_frames(files[0])
    elif kinds and set(kinds) == {"image"}:
        frames = [_open_image(file) for file in _in_order(files, parameters)]
        total = len(frames)
    else:
        raise BadMediaError(f"No media data, or a mixture of them: {', '.join(file['name'] for file in files)}")
    step = int(found[1]) if (found := re.match(r"\s*step\s*=\s*(\d+)", media["frame_filter"])) else 1
    start = int(parameters.get("start_frame") or 0)
    stop = min(int(parameters.get("stop_frame") or total - 1), total - 1)
    kept = range(start, stop + 1, step)
    if not kept:
        raise BadMediaError("No frame is left between the first and the last one.")
    is_video = kinds == ["video"]
    chunks = "imageset" if media["use_zip_chunks"] or not is_video else "video"
    area = frames[0]["width"] * frames[0]["height"]
    by_default = max(2, min(72, 36 * FULL_HD // area)) if chunks == "imageset" else 36
    media.update(
        is_video=is_video,
        frames=frames if is_video else [frames[index] for index in kept],
        size=len(kept),
        start_frame=start,
        stop_frame=stop,
        step=step,
        chunk_size=int(parameters.get("chunk_size") or by_default),
        original_chunk_type="video" if is_video else "imageset",
        compressed_chunk_type=chunks,
    )


def _in_order(files: list[Record], parameters: Record) -> list[Record]:
    method = str(parameters.get("sorting_method") or "lexicographical").lower()
    if method == "natural":
        return sorted(files, key=lambda file: [int(t) if t.isdigit() else t for t in re.split(r"(\d+)", file["name"])])
    if method == "predefined":
        order = list(parameters.get("upload_file_order") or [file["name"] for file in files])
        return sorted(files, key=lambda file: order.index(file["name"]) if file["name"] in order else len(order))
    return sorted(files, key=lambda file: file["name"])


def _open_video(file: Record) -> list[Record]:
    video = cv2.VideoCapture(file["path"])
    readable, picture = video.read()
    video.release()
    if not readable:
        raise BadMediaError(f"The video {file['name']} cannot be read.")
    height, width = picture.shape[:2]
    return [{**file, "width": width, "height": height}]


def _count_frames(file: Record) -> int:
    video = cv2.VideoCapture(file["path"])
    count = 0
    while video.grab():
        count += 1
    video.release()
    return count


def _open_image(file: Record) -> Record:
    try:
        with Image.open(file["path"]) as image:
            width, height = image.size
    except OSError as error:
        raise BadMediaError(f"The image {file['name']} cannot be read: {type(error).__name__}") from None
    return {**file, "width": width, "height": height}


def meta(media: Record, deleted_frames: list[int], frames: range | None = None) -> Record:
    """What ``data/meta`` says of a task, or of the frames of one of its jobs.

    A video is one entry, images are one each. Start and stop are numbers in the medium, all else counts the task's
    frames.
    """
    part = frames if frames is not None else range(media["size"])
    rows = media["frames"] if media["is_video"] else [media["frames"][index] for index in part]
    first = media["start_frame"] + part[0] * media["step"]
    whole = frames is None
    return {
        "chapters": [] if media["is_video"] else None,
        "chunks_updated_date": media["chunks_updated_date"],
        "chunk_size": media["chunk_size"],
        "size": len(part),
        "image_quality": media["image_quality"],
        "start_frame": first,
        "stop_frame": media["stop_frame"] if whole else first + (len(part) - 1) * media["step"],
        "frame_filter": media["frame_filter"],
        "frames": [
            {
                "width": row["width"],
                "height": row["height"],
                "name": row["name"],
                "related_files": 0,
                "has_related_context": False,
            }
            for row in rows
        ],
        "deleted_frames": [frame for frame in deleted_frames if frame in part],
        "included_frames": None,
        "storage": media["storage"],
        "cloud_storage_id": media["cloud_storage_id"],
    }


def frame_file(media: Record, frame: int, quality: str) -> tuple[bytes, str]:
    """One frame as an encoded image with its media type."""
    if not media["is_video"] and quality == "original":
        row = media["frames"][frame]
        return Path(row["path"]).read_bytes(), str(mimetypes.guess_type(row["name"])[0])
    as_jpeg = quality != "original" and media["compressed_chunk_type"] == "imageset"
    return _encoded(_pictures(media, range(frame, frame + 1))[0], ".jpg" if as_jpeg else ".png")


def preview(media: Record) -> tuple[bytes, str]:
    """A small picture of the first frame."""
    return _encoded(cv2.resize(_pictures(media, range(1))[0], (256, 144)), ".jpg")


def chunk_file(media: Record, frames: range, quality: str) -> tuple[bytes, str]:
    """Some frames as a zip of images, or as a video where the task's chunks are videos."""
    kind = media["original_chunk_type" if quality == "original" else "compressed_chunk_type"]
    pictures = _pictures(media, frames)
    if kind == "video":
        return _video(pictures), "video/mp4"
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for index, picture in enumerate(pictures):
            archive.writestr(f"{index:06d}.jpeg", _encoded(picture, ".jpg")[0])
    return packed.getvalue(), "application/zip"


def _pictures(media: Record, frames: range) -> list[np.ndarray]:
    if not media["is_video"]:
        return [cv2.imread(media["frames"][frame]["path"]) for frame in frames]
    wanted = {media["start_frame"] + frame * media["step"] for frame in frames}
    video = cv2.VideoCapture(media["frames"][0]["path"])
    pictures = []
    for number in range(max(wanted) + 1):
        if number in wanted:
            pictures.append(video.read()[1])
        else:
            video.grab()
    video.release()
    return pictures


def _encoded(picture: np.ndarray, extension: str) -> tuple[bytes, str]:
    _, buffer = cv2.imencode(extension, picture)
    return buffer.tobytes(), "image/jpeg" if extension == ".jpg" else "image/png"


def _video(pictures: list[np.ndarray]) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "chunk.mp4"
        height, width = pictures[0].shape[:2]
        writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), 25, (width, height))
        for picture in pictures:
            writer.write(picture)
        writer.release()
        return path.read_bytes()
