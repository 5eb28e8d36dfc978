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
