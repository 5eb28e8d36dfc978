"""Boxes of many videos as one set of tensor columns on one time axis.

Every pair (video, class) is a *lane*: it gets a stretch of one global time axis of its own, aligned to the longest
window, so that windows of any level are ``time // length`` for all videos at once and nothing ever crosses a video or a
class.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..columns import Candidates, VideoInfo

EMBEDDING_SIZE = 32  # components of an appearance vector that are kept


@dataclass(frozen=True)
class BoxColumns:
    """Candidates of all lanes, sorted by global time.

    Attributes:
        time: (N,) int64, frame on the global axis.
        state: (N, 4) float32, centre x, centre y (pixels), log width, log height.
        scale: (N,) float32, square root of the box's area, pixels.
        score: (N,) float32, as given.
        lane: (N,) int64.
        row: (N,) int64, row in the candidates of the lane's video.
        lane_video: (L,) int64, index of the video of every lane.
        lane_rate: (L,) float32, frames per second.
        lane_size: (L, 2) float32, width and height of a frame in pixels.
        lane_start: (L,) int64, global time of frame 0.
        embedding: (N, D) float32 of unit length, or None; rows of videos without embeddings are zero.
    """

    time: Tensor
    state: Tensor
    scale: Tensor
    score: Tensor
    lane: Tensor
    row: Tensor
    lane_video: Tensor
    lane_rate: Tensor
    lane_size: Tensor
    lane_start: Tensor
    embedding: Tensor | None = None

    def __len__(self) -> int:
        return len(self.time)

    @property
    def rate(self) -> Tensor:
        """(N,) frames per second at every box."""
        return self.lane_rate[self.lane]

    @property
    def size(self) -> Tensor:
        """(N, 2) frame width and height at every box, pixels."""
        return self.lane_size[self.lane]

    def xyxy(self) -> Tensor:
        """(N, 4) corners in pixels."""
        half = self.state[:, 2:].exp() / 2
        return torch.cat([self.state[:, :2] - half, self.state[:, :2] + half], 1)

    def shifted(self, frames: int) -> BoxColumns:
        """The same boxes, all times later by fewer frames than the alignment of the lanes."""
        return replace(self, time=self.time + frames, lane_start=self.lane_start + frames)

    @property
    def lane_last(self) -> Tensor:
        """(L,) last moment before the next lane begins."""
        return torch.cat([self.lane_start[1:] - 1, self.lane_start.new_full((1,), torch.iinfo(torch.int64).max // 2)])

    def take(self, rows: Tensor) -> BoxColumns:
        """The boxes of these rows (ascending index or mask)."""
        picked = {key: getattr(self, key)[rows] for key in ("time", "state", "scale", "score", "lane", "row")}
        return replace(self, **picked, embedding=None if self.embedding is None else self.embedding[rows])


def gather_boxes(
    videos: Sequence[tuple[VideoInfo, Candidates]], longest_window: int, device: torch.device, embeddings: bool = True
) -> BoxColumns:
    """Columns of all videos; ``longest_window`` is the alignment of the lanes, in frames."""
    lanes: list[tuple[int, np.ndarray]] = []
    for index, (_, candidates) in enumerate(videos):
        for value in np.unique(candidates.class_index):
            lanes.append((index, np.flatnonzero(candidates.class_index == value)))
    blocks = [2 + -(-videos[v][0].num_frames // longest_window) for v, _ in lanes]
    starts = (
        np.concatenate([[0], np.cumsum(blocks)[:-1]]).astype(np.int64) * longest_window
        if lanes
        else np.zeros(0, np.int64)
    )

    def column(
        pick: Callable[[int, int, NDArray[np.int64]], NDArray], dtype: torch.dtype, width: tuple[int, ...] = ()
    ) -> Tensor:
        parts = [np.asarray(pick(i, v, rows)) for i, (v, rows) in enumerate(lanes)]
        whole = np.concatenate(parts) if parts else np.zeros((0, *width))
        return torch.as_tensor(whole, dtype=dtype, device=device)

    xyxy = column(lambda i, v, rows: videos[v][1].xyxy[rows], torch.float32, (4,))
    sides = (xyxy[:, 2:] - xyxy[:, :2]).clamp_min(1e-3)
    return BoxColumns(
        time=column(lambda i, v, rows: videos[v][1].frame[rows] + starts[i], torch.int64),
        state=torch.cat([(xyxy[:, :2] + xyxy[:, 2:]) / 2, sides.log()], 1),
        scale=sides.prod(1).sqrt(),
        score=column(lambda i, v, rows: videos[v][1].score[rows], torch.float32),
        lane=column(lambda i, v, rows: np.full(len(rows), i), torch.int64),
        row=column(lambda i, v, rows: rows, torch.int64),
        lane_video=torch.tensor([v for v, _ in lanes], dtype=torch.int64, device=device),
        lane_rate=torch.tensor([videos[v][0].frame_rate for v, _ in lanes], dtype=torch.float32, device=device),
        lane_size=torch.tensor(
            [[videos[v][0].width, videos[v][0].height] for v, _ in lanes], dtype=torch.float32, device=device
        ).reshape(-1, 2),
        lane_start=torch.as_tensor(starts, device=device),
        embedding=_embeddings(videos, lanes, device) if embeddings else None,
    )


def _embeddings(
    videos: Sequence[tuple[VideoInfo, Candidates]], lanes: list[tuple[int, np.ndarray]], device: torch.device
) -> Tensor | None:
    """Unit vectors of all lanes, zero-padded to the widest; None if no video has any."""
    widths = [c.embedding.shape[1] for _, c in videos if c.embedding is not None]
    if not widths or not lanes:
        return None
    parts = []
    width = min(max(widths), EMBEDDING_SIZE)
    for video, rows in lanes:
        given = videos[video][1].embedding
        part = torch.zeros(len(rows), width)
        if given is not None:
            vectors = torch.as_tensor(np.asarray(given[rows], np.float32))
            vectors = _principal(vectors - vectors.mean(0))  # what all boxes of a lane share says nothing of identity
            part[:, : vectors.shape[1]] = torch.nn.functional.normalize(vectors, dim=1)
        parts.append(part)
    return torch.cat(parts).to(device)


def _principal(vectors: Tensor) -> Tensor:
    """(N, at most EMBEDDING_SIZE) the components along which centred vectors differ most.

    Similarities are read for a great many pairs; what is left out hardly moves them. Very long vectors are folded by a
    fixed random projection first, which keeps angles (Johnson and Lindenstrauss, 1984).
    """
    if vectors.shape[1] <= EMBEDDING_SIZE:
        return vectors
    if vectors.shape[1] > 8 * EMBEDDING_SIZE:
        fold = torch.randn(vectors.shape[1], 8 * EMBEDDING_SIZE, generator=torch.Generator().manual_seed(0))
        vectors = vectors @ fold
    _, axes = torch.linalg.eigh((vectors.T @ vectors).double())
    return vectors @ axes[:, -EMBEDDING_SIZE:].float()
