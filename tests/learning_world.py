"""A small dataset to learn from: simulated streams with their truth, no media, and a person who answers from it."""

from __future__ import annotations

from typing import Any

WIDTH, HEIGHT = 640, 360


def stream_dataset(name: str, seeds: tuple[int, ...] = (3, 4), frames: int = 120) -> Any:
    """Videos with ``candidates`` and ``ground_truth``, of simulated streams; media are nowhere."""
    import fiftyone as fo
    import numpy as np

    from spam_plugin.integrations.fiftyone_.raw import declare_detections, detection_dict, write_frame_labels
    from spam_plugin.models.synthetic.streams import StreamSettings, simulate_stream

    dataset = fo.Dataset(name, overwrite=True)
    dataset.media_type = "video"
    for field in ("candidates", "ground_truth"):
        declare_detections(dataset, f"frames.{field}")
    settings = StreamSettings(num_frames=(frames, frames), density=(5.0, 6.0), frame_rate=(10.0, 10.0))
    for seed in seeds:
        stream = simulate_stream(seed, settings)
        info, found = stream.info, stream.candidates
        sample = fo.Sample(filepath=f"/nowhere/{name}-{seed}.mp4")
        sample.metadata = fo.VideoMetadata(
            total_frame_count=frames, frame_width=int(info.width), frame_height=int(info.height),
            frame_rate=info.frame_rate,
        )  # fmt: skip
        dataset.add_sample(sample)
        size = np.array([info.width, info.height] * 2)

        def document(box: Any, index: int | None = None, size: Any = size, **more: Any) -> dict[str, Any]:
            left, top, right, bottom = (box / size).tolist()
            return detection_dict("person", [left, top, right - left, bottom - top], index, **more)

        boxes: dict[int, list] = {}
        for frame, box, score in zip(found.frame.tolist(), found.xyxy, found.score.tolist(), strict=True):
            boxes.setdefault(frame + 1, []).append(document(box, confidence=score))
        write_frame_labels(dataset, sample.id, "candidates", boxes)
        truth: dict[int, list] = {frame + 1: [] for frame in range(frames)}
        rows = zip(stream.truth_frame.tolist(), stream.truth_xyxy, stream.truth_identity.tolist(), strict=True)
        for frame, box, who in rows:
            truth[frame + 1].append(document(box, who + 1))
        write_frame_labels(dataset, sample.id, "ground_truth", truth)
    return dataset


def answers_from_truth(dataset: Any, budget: str = "10%") -> int:
    """Labels, asks, and has a simulated person answer; how many answers came in."""
    from spam_plugin.engine.loop import LoopSettings
    from spam_plugin.engine.queries import Budget
    from spam_plugin.integrations.fiftyone_.looping import SimulatedReviewer, Work, loop

    work = Work(parts=None)

    def reviewer(collection: Any, notes: Any) -> Any:
        return SimulatedReviewer(collection, work, "ground_truth", notes.notes)

    end = loop(dataset, LoopSettings(Budget.parse(budget), rounds=1), work, reviewer, again=True)
    return end.reports[0].answers


def rendered_dataset(name: str, folder: Any, frames: int = 60, seed: int = 5) -> Any:
    """One video file of a rendered street with ``ground_truth``, and no candidates."""
    import cv2
    import fiftyone as fo
    import numpy as np

    from spam_plugin.integrations.fiftyone_.raw import declare_detections, detection_dict, write_frame_labels
    from spam_plugin.models.synthetic.render import RenderSettings, render

    settings = RenderSettings(name, frames, WIDTH, HEIGHT, 10.0, num_objects=12, num_occluders=1)
    path = folder / f"{name}.mp4"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"mp4v"), 10.0, (WIDTH, HEIGHT))
    truth: dict[int, list] = {}
    for number, shot in enumerate(render(settings, np.random.default_rng(seed)), 1):
        writer.write(shot.image)
        seen = shot.truth.visibility > 0.3
        boxes = shot.truth.xyxy[seen] / [WIDTH, HEIGHT, WIDTH, HEIGHT]
        rows = zip(boxes.tolist(), shot.truth.track[seen].tolist(), strict=True)
        truth[number] = [
            detection_dict("person", [left, top, right - left, bottom - top], who + 1)
            for (left, top, right, bottom), who in rows
        ]
    writer.release()
    dataset = fo.Dataset(name, overwrite=True)
    sample = fo.Sample(filepath=str(path))
    sample.metadata = fo.VideoMetadata(
        total_frame_count=frames, frame_width=WIDTH, frame_height=HEIGHT, frame_rate=10.0
    )
    dataset.add_sample(sample)
    declare_detections(dataset, "frames.ground_truth")
    write_frame_labels(dataset, sample.id, "ground_truth", truth)
    return dataset
