"""From a video file to tracks: frames per second on rendered 720p video, the share of each part, and what limits it.

    OMP_NUM_THREADS=1 python benchmarks/pipeline.py --out docs/benchmarks/pipeline.md

Parts are timed one by one with the arrays of the part before as their input; then the whole as `label --detector
default --appearance default` does it, with FiftyOne's database, where decoding goes on in a thread of its own. On a CPU
time is processor time (the database server's own is not in it), on a GPU the clock's on the wall. Arithmetic is counted
by PyTorch (multiplications and additions), and compared with the best that the device reaches in the same precision:
multiplying large matrices, or a plain 3 x 3 convolution of 64 channels. (Libraries for matrices are not at their best
on every processor.)
"""

from __future__ import annotations

import atexit
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from clock import one_thread
from reporting import command_line, publish, start, table
from torch.utils.flop_counter import FlopCounterMode

from spam_plugin.integrations.appearances import open_appearance
from spam_plugin.integrations.detectors import open_detector
from spam_plugin.models.columns import Candidates, VideoInfo
from spam_plugin.models.detector.detector import Detections
from spam_plugin.models.errors import MissingError
from spam_plugin.models.spam import LabelSettings, SpamModel
from spam_plugin.models.synthetic.render import RenderSettings, render

GROUP = 16  # frames that the detector is given at one time


def main() -> None:
    """Render, time, count, print."""
    parser = command_line(__doc__, data=False)
    parser.add_argument("--device", default="cpu", help="cpu or cuda (default: cpu)")
    parser.add_argument("--frames", type=int, default=150, help="of the film (default: 150)")
    parser.add_argument("--objects", type=int, default=32, help="that ever come by (default: 32)")
    parser.add_argument("--batch", type=int, default=8, help="images at a time (default: 8)")
    parser.add_argument("--appearance", default="default", help="see `spam-plugin embed` (default: default)")
    args = parser.parse_args()
    if args.device.startswith("cuda") and not torch.cuda.is_available():
        publish(args, "The pipeline", ["Not run: this machine has no GPU that PyTorch can use."], {"ran": False})
        return
    one_thread()
    folder = Path(tempfile.mkdtemp())
    atexit.register(shutil.rmtree, folder, ignore_errors=True)  # before FiftyOne registers its database's end
    film = RenderSettings("film", args.frames, 1280, 720, 25.0, num_objects=args.objects)
    path = write_film(film, folder)
    numbers = measure(path, film.info, args)
    with database(folder):
        numbers["whole"] = whole(path, args)
    publish(args, "The pipeline: from a video file to tracks", report(numbers, args), numbers)


def measure(path: Path, info: VideoInfo, args: Any) -> dict[str, Any]:
    """Seconds a frame of each part, and the arithmetic of the networks."""
    detector = open_detector("default", args.device, batch=args.batch)
    appearance = open_appearance(args.appearance, args.device)
    model = SpamModel.load(None, args.device)
    frames = list(decoded(path))
    pictures = [np.ascontiguousarray(frame[..., ::-1]) for frame in frames]
    groups = [pictures[at : at + GROUP] for at in range(0, len(pictures), GROUP)]
    detector.detect(groups[0])
    seconds = {"decoding": clock(lambda: sum(1 for _ in decoded(path)), args.device)}
    found = [detector.detect(group) for group in groups]
    seconds["detector"] = clock(lambda: [detector.detect(group) for group in groups], args.device)
    boxes = [part.xyxy[part.frame == at] for part in found for at in range(GROUP)][: len(frames)]
    vectors = [appearance.describe(frame, box) for frame, box in zip(frames, boxes, strict=True)]
    seconds["appearance"] = clock(
        lambda: [appearance.describe(frame, box) for frame, box in zip(frames, boxes, strict=True)], args.device
    )
    candidates = together(found, vectors)
    model.label([(info, candidates)], LabelSettings())
    seconds["hierarchy"] = clock(lambda: model.label([(info, candidates)], LabelSettings()), args.device)
    return {
        "seconds": {part: value / len(frames) for part, value in seconds.items()},
        "frames": len(frames),
        "boxes": len(candidates) / len(frames),
        "operations": {
            "detector": operations(lambda: detector.detect(pictures[:1])),
            "appearance": operations(lambda: appearance.describe(frames[0], boxes[0])) * len(candidates)
            / max(len(boxes[0]), 1) / len(frames),
        },
        "peak": peak(args.device),
        "versions": [detector.version, appearance.version, model.version],
    }  # fmt: skip


def whole(path: Path, args: Any) -> float:
    """Seconds a frame of the whole, with the database."""
    import fiftyone as fo

    from spam_plugin.integrations.fiftyone_.api import label

    dataset = fo.Dataset()
    try:
        dataset.add_sample(fo.Sample(str(path)))
        dataset.compute_metadata()
        options = {"embeddings": args.appearance, "device": args.device, "progress": False}
        spent = clock(lambda: label(dataset, detector="default", **options), args.device)
        return spent / dataset.first().metadata.total_frame_count
    finally:
        dataset.delete()


def report(numbers: dict[str, Any], args: Any) -> list[str]:
    """The tables in words."""
    seconds, operations_, peak_ = numbers["seconds"], numbers["operations"], numbers["peak"]
    total = sum(seconds.values())
    precision = "half" if args.device.startswith("cuda") else "single"
    where = torch.cuda.get_device_name() if args.device.startswith("cuda") else "one thread of the processor"
    parts = [
        [part, 1000 * value, 1 / value, f"{100 * value / total:.1f} %"] for part, value in seconds.items()
    ] + [["one after the other", 1000 * total, 1 / total, ""],
         ["the whole, with the database", 1000 * numbers["whole"], 1 / numbers["whole"], ""]]  # fmt: skip
    arithmetic = [
        [
            part,
            f"{count / 1e9:.2f}",
            f"{count / seconds[part] / 1e9:.1f}",
            f"{100 * count / seconds[part] / peak_:.0f} %",
        ]
        for part, count in operations_.items()
    ]
    slowest = max((part for part in seconds if part != "decoding"), key=lambda part: seconds[part])
    beside = sum(value for part, value in seconds.items() if part != "decoding")
    limit = (
        f"Decoding alone would allow {1 / seconds['decoding']:.0f} frames/s, {beside / seconds['decoding']:.1f} times "
        f"what the other parts together reach; the slowest of them is the {slowest}."
    )
    return [
        f"{numbers['frames']} rendered frames of 1280 x 720 pixels (H.264, 25 frames/s), {numbers['boxes']:.1f} "
        f"candidates a frame; {', '.join(numbers['versions'])}; on {where}, {precision} precision.",
        table(["part", "ms a frame", "frames/s", "share"], parts),
        limit,
        f"Arithmetic, against the {peak_ / 1e9:.0f} billion operations a second that the device reaches at its best:",
        table(["part", "billion operations a frame", "billion a second", "of that peak"], arithmetic),
    ]


def decoded(path: Path) -> Iterator[np.ndarray]:
    """Frames as OpenCV reads them."""
    capture = cv2.VideoCapture(str(path))
    while True:
        readable, image = capture.read()
        if not readable:
            capture.release()
            return
        yield image


def write_film(film: RenderSettings, folder: Path) -> Path:
    """Renders a film and encodes it as cameras and web sites do."""
    for number, shot in enumerate(render(film, np.random.default_rng(0))):
        cv2.imwrite(str(folder / f"{number}.png"), shot.image)
    print("rendered", file=sys.stderr)
    path = folder / "film.mp4"
    command = [
        "ffmpeg",
        "-v",
        "error",
        "-r",
        "25",
        "-i",
        str(folder / "%d.png"),
        "-c:v",
        "libx264",
        "-pix_fmt",
        "yuv420p",
    ]
    try:
        subprocess.run([*command, str(path)], check=True)
    except FileNotFoundError as error:
        raise MissingError("ffmpeg is not installed; install it (Debian and Ubuntu: apt install ffmpeg)") from error
    return path


def together(found: list[Detections], vectors: list[np.ndarray]) -> Candidates:
    """Candidates of the whole film."""
    frame = np.concatenate([part.frame + GROUP * at for at, part in enumerate(found)])
    columns = [np.concatenate([getattr(part, name) for part in found]) for name in ("xyxy", "score", "class_index")]
    return Candidates(frame, *columns, np.concatenate(vectors).astype(np.float32))


def clock(work: Callable[[], Any], device: str) -> float:
    """Seconds of the processor, or on the wall; what the parts give lies on the CPU, so no GPU is left running."""
    now = time.perf_counter if device.startswith("cuda") else time.process_time
    begin = now()
    work()
    return now() - begin


def operations(work: Callable[[], Any]) -> float:
    """Multiplications and additions of what is run."""
    with FlopCounterMode(display=False) as counter:
        work()
    return float(counter.get_total_flops())


@torch.inference_mode()
def peak(device: str) -> float:
    """Operations a second in large matrix products or convolutions, in the precision that the networks run in there."""
    on_gpu = device.startswith("cuda")
    kind, side, images = (torch.float16, 8192, 64) if on_gpu else (torch.float32, 1024, 4)
    a, b = (torch.rand(side, side, device=device, dtype=kind) for _ in range(2))
    picture = torch.rand(images, 64, 90, 160, device=device, dtype=kind).to(memory_format=torch.channels_last)
    layer = torch.nn.Conv2d(64, 64, 3, padding=1, bias=False).to(device, kind).to(memory_format=torch.channels_last)
    works: list[tuple[Callable[[], Any], float]] = [
        (lambda: a @ b, 2.0 * side**3), (lambda: layer(picture), 2.0 * images * 90 * 160 * 64 * 64 * 9)
    ]  # fmt: skip

    def several(work: Callable[[], Any]) -> None:
        for _ in range(8):
            work()
        if on_gpu:
            torch.cuda.synchronize()

    return max(8 * count / clock(partial(several, work), device) for work, count in works for _ in range(5))


@contextmanager
def database(folder: Path) -> Iterator[None]:
    """A database and vectors of their own."""
    os.environ.update(
        FIFTYONE_DATABASE_DIR=str(folder / "db"),
        FIFTYONE_DATABASE_NAME=f"spam_plugin_benchmark_{os.getpid()}",
        FIFTYONE_DO_NOT_TRACK="true",
        FIFTYONE_DATABASE_VALIDATION="false",
        FIFTYONE_SHOW_PROGRESS_BARS="false",
        SPAM_PLUGIN_VECTORS=str(folder / "vectors"),
    )
    import fiftyone.core.odm as foo

    try:
        yield
    finally:
        foo.get_db_client().drop_database(os.environ["FIFTYONE_DATABASE_NAME"])


if __name__ == "__main__":
    start(main)
