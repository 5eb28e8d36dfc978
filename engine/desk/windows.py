"""Jobs: how a video is cut so that what a question needs to be seen fits one, and which job gets which question."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ...models.errors import InputError
from ..queries import Query, Question

MARGIN = 0.5  # seconds that a person sees before and after what a question is about


@dataclass(frozen=True)
class Cut:
    """How a video is cut into jobs.

    Attributes:
        segment: frames of a job.
        overlap: frames that a job shares with the next one.
    """

    segment: int
    overlap: int


def cut_video(
    num_frames: int, frame_rate: float, queries: Sequence[Query], job_seconds: float, overlap_seconds: float
) -> Cut:
    """Cuts a video so that whatever is asked now fits into a job, and what will be asked mostly does.

    Any window of at most ``overlap + 1`` frames lies within some job, wherever it is.

    Args:
        num_frames: length of the video.
        frame_rate: frames per second.
        queries: what is asked now; whether a whole track is right is asked job by job, and fits always.
        job_seconds: wished length of a job.
        overlap_seconds: wished overlap.

    Raises:
        InputError: for lengths that cannot be.
    """
    if not (job_seconds > 0 and 0 <= overlap_seconds < job_seconds):
        raise InputError(
            f"jobs of {job_seconds:g} s that overlap by {overlap_seconds:g} s cannot be; jobs must be longer than "
            "their overlap"
        )
    margin = round(MARGIN * frame_rate)
    longest = max((last - first + 1 for first, last in map(window, queries)), default=1)
    overlap = max(round(overlap_seconds * frame_rate), longest - 1 + 2 * margin if longest > 1 else 0)
    segment = max(round(job_seconds * frame_rate), 2 * overlap, 2)
    if segment >= num_frames:
        return Cut(num_frames, 0)
    return Cut(segment, overlap)


def window(query: Query) -> tuple[int, int]:
    """First and last frame that must be in one job for the question to be answered."""
    if query.question is Question.VALID:
        return query.frame, query.frame
    if query.question is Question.LINK:
        return query.boxes[-1].frame, query.others[0].frame
    return query.frame, query.frame


@dataclass(frozen=True)
class Span:
    """The frames of one job."""

    job: int
    start: int
    stop: int


def place_queries(queries: Sequence[Query], spans: Sequence[Span]) -> dict[int, list[Query]]:
    """Gives each question to one job.

    That is one which holds all that must be seen; of several the one that holds most of what is asked about, then the
    one with most room around. A question that no job holds goes where most of it is.

    Args:
        queries: about one video, most valuable first; frames are positions in the media.
        spans: the video's jobs.

    Returns:
        job -> its questions, most valuable first.
    """
    out: dict[int, list[Query]] = {}
    for query in queries:
        out.setdefault(_best_span(query, spans).job, []).append(query)
    return out


def _best_span(query: Query, spans: Sequence[Span]) -> Span:
    first, last = window(query)
    frames = [box.frame for box in (*query.boxes, *query.others)] or [query.frame]

    def score(span: Span) -> tuple[float, float, float, int]:
        held = max(0, min(last, span.stop) - max(first, span.start) + 1) / (last - first + 1)
        seen = sum(span.start <= frame <= span.stop for frame in frames) / len(frames)
        room = min(first - span.start, span.stop - last)
        return held, seen, room, -span.job

    return max(spans, key=score)


def pin(query: Query, span: Span) -> tuple[int, tuple[float, float, float, float] | None]:
    """Frame and box that a question is pinned to in a job; no box for a question about the whole frame."""
    if query.question is Question.MISSING:
        return min(max(query.frame, span.start), span.stop), None
    boxes = [query.boxes[-1]] if query.question is Question.LINK else list(query.boxes)
    if query.question is Question.VALID:
        inside = [box for box in boxes if span.start <= box.frame <= span.stop]
        boxes = inside[len(inside) // 2 :] or boxes
    elif query.question is Question.BOX:
        boxes = [min(boxes, key=lambda box: abs(box.frame - query.frame))]
    box = boxes[0]
    frame = query.frame if query.question is Question.BOX else box.frame
    return min(max(frame, span.start), span.stop), box.xyxy
