"""SPAM as users of this package meet it: candidates of videos in, tracks with calibrated uncertainty out.

SPAM: "SPAMming Labels: Efficient Annotations for the Trackers of Tomorrow", Cetintas et al., ECCV 2024.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from ..columns import Candidates, Source, Tracks, VideoInfo
from ..errors import InputError, MissingError
from .columns import BoxColumns, gather_boxes
from .context import describe
from .decoding import Chains, Decisions, decode
from .graph import fit_appearance
from .hierarchy import WINDOWS, plan_levels
from .interpolation import fill_gaps
from .network import NetworkConfig, SpamNetwork
from .smoothing import smooth_tracks
from .stabilisation import stabilise

DEFAULT_WEIGHTS = Path(__file__).parent / "weights" / "spam-1.safetensors"


@dataclass(frozen=True)
class LabelSettings:
    """What a user may change of the labelling.

    Attributes:
        node_classification: drop candidates and tracks that the model does not take for objects.
        num_levels: use only that many levels of the hierarchy; None for all.
        interpolate: fill gaps inside tracks.
        max_gap_seconds: longest gap that is filled, in seconds.
        smooth: smooth the boxes of every track.
        use_embedding: use embeddings where candidates have them.
        min_boxes: least number of candidates of a track.
        consensus: run the hierarchy with windows that begin elsewhere as well, and once more on what both agree on;
            fewer wrong links for about twice the time.

    Raises:
        InputError: for values out of range.
    """

    node_classification: bool = True
    num_levels: int | None = None
    interpolate: bool = True
    max_gap_seconds: float = 3.0
    smooth: bool = True
    use_embedding: bool = True
    min_boxes: int = 2
    consensus: bool = True

    def __post_init__(self) -> None:
        if self.num_levels is not None and not 1 <= self.num_levels <= len(WINDOWS):
            raise InputError(f"num_levels is {self.num_levels}; it must be from 1 to {len(WINDOWS)}, or None for all")
        if not self.max_gap_seconds >= 0:
            raise InputError(f"max_gap_seconds is {self.max_gap_seconds}; it must be 0 or more")
        if self.min_boxes < 1:
            raise InputError(f"min_boxes is {self.min_boxes}; it must be at least 1")


class SpamModel:
    """A trained hierarchy with its thresholds and calibration.

    Attributes:
        network: the weights.
        decisions: thresholds and calibration.
        version: name of this set of weights.
    """

    def __init__(self, network: SpamNetwork, decisions: Decisions, version: str, device: str = "cpu") -> None:
        self.device = torch.device(device)
        self.network = network.to(self.device).float().eval()
        self.decisions = decisions
        self.version = version

    @classmethod
    def load(cls, path: str | Path | None = None, device: str = "cpu") -> SpamModel:
        """The model of a safetensors file; the default weights if no path is given.

        Raises:
            MissingError: if there is no such file.
            InputError: if the file holds no SPAM weights, or the device is not to be had.
        """
        if device.startswith("cuda") and not torch.cuda.is_available():
            raise InputError(f"device {device!r}: torch sees no GPU here; use 'cpu'")
        file = Path(path) if path is not None else DEFAULT_WEIGHTS
        if not file.is_file():
            raise MissingError(f"weights {file}: no such file; leave the model out to use the default weights")
        try:
            with safe_open(str(file), "pt") as stored:
                meta = stored.metadata() or {}
                tensors = {key: stored.get_tensor(key).float() for key in stored.keys()}  # noqa: SIM118
            config = json.loads(meta["spam"])
            config["network"]["blocks"] = tuple(config["network"]["blocks"])
            decisions = config["decisions"]
            decisions["link"] = tuple(decisions["link"])
            decisions["link_calibration"] = tuple(map(tuple, decisions["link_calibration"]))
            decisions["box_calibration"] = tuple(decisions["box_calibration"])
            network = SpamNetwork(NetworkConfig(**config["network"]))
            network.load_state_dict(tensors)
        except (SafetensorError, KeyError, ValueError, TypeError, RuntimeError) as error:
            why = (str(error) or type(error).__name__).splitlines()[0]
            raise InputError(f"weights {file}: not a SPAM model of this version ({why})") from error
        return cls(network, Decisions(**decisions), config["version"], device)

    def save(self, path: str | Path) -> None:
        """Write weights (half precision), thresholds and calibration as one safetensors file."""
        meta = {"version": self.version, "network": asdict(self.network.config), "decisions": asdict(self.decisions)}
        tensors = {key: value.detach().half().contiguous().cpu() for key, value in self.network.state_dict().items()}
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        save_file(tensors, str(path), {"spam": json.dumps(meta)})

    def label(
        self, videos: Sequence[tuple[VideoInfo, Candidates]], settings: LabelSettings | None = None
    ) -> list[Tracks]:
        """Tracks of every video; the same inputs give the same tracks.

        Args:
            videos: what is known of each video, and its candidates; frames must lie inside the video.
            settings: what to leave out or change.

        Raises:
            InputError: for a candidate behind the end of its video.
        """
        settings = settings or LabelSettings()
        for info, candidates in videos:
            if len(candidates) and candidates.frame[-1] >= info.num_frames:
                raise InputError(
                    f"video {info.name!r}: a candidate lies in frame {int(candidates.frame[-1]) + 1}, but the video "
                    f"has {info.num_frames} frames"
                )
        # Videos that pass through the same levels go together, so that no video's labels depend on its company.
        depth = [len(plan_levels(info.num_frames, settings.num_levels)) for info, _ in videos]
        out: dict[int, Tracks] = {}
        for levels in sorted(set(depth)):
            group = [index for index, own in enumerate(depth) if own == levels]
            boxes, chains = self.chains([videos[index] for index in group], settings)
            for place, index in enumerate(group):  # videos, not boxes
                out[index] = self._tracks(place, *videos[index], boxes, chains, settings)
        return [out[index] for index in range(len(videos))]

    def chains(
        self, videos: Sequence[tuple[VideoInfo, Candidates]], settings: LabelSettings
    ) -> tuple[BoxColumns, Chains]:
        """The hierarchy's decisions before any threshold on validity; for calibration and for active learning."""
        boxes = gather_boxes(videos, WINDOWS[-1], self.device, settings.use_embedding)
        with torch.no_grad():
            context, partners = describe(boxes)
            boxes = stabilise(boxes, partners)
            appearance = fit_appearance(boxes)
        longest = max((info.num_frames for info, _ in videos), default=1)
        chains = decode(
            self.network, boxes, context, appearance, self.decisions, longest, settings.num_levels,
            settings.node_classification, settings.consensus,
        )  # fmt: skip
        return boxes, chains

    def _tracks(
        self,
        index: int,
        info: VideoInfo,
        candidates: Candidates,
        boxes: BoxColumns,
        chains: Chains,
        settings: LabelSettings,
    ) -> Tracks:
        mine = (boxes.lane_video[boxes.lane] == index).nonzero()[:, 0]
        table = _decide(mine, boxes, chains, candidates, self.decisions, settings)
        cap = round(settings.max_gap_seconds * info.frame_rate) if settings.interpolate else 0
        return _finish(table, candidates, cap, settings.smooth)


@dataclass(frozen=True)
class _Kept:
    """Kept candidates of one video, sorted by (track, frame)."""

    row: NDArray[np.int64]
    track: NDArray[np.int64]
    validity: NDArray[np.float32]
    link_after: NDArray[np.float32]  # probability of the link to the next box of the track; 1 at its end
    link_entropy: NDArray[np.float32]


def entropy(p: NDArray) -> NDArray[np.float32]:
    """Binary entropy in bits, so that it lies in [0, 1]."""
    p = np.clip(np.asarray(p, np.float64), 1e-9, 1 - 1e-9)
    return (-(p * np.log2(p) + (1 - p) * np.log2(1 - p))).astype(np.float32)


def _sigmoid(x: NDArray) -> NDArray:
    return 1 / (1 + np.exp(-np.clip(x, -30, 30)))


def link_probability(logit: NDArray, level: NDArray, decisions: Decisions) -> NDArray:
    """Calibrated probability of links from their raw logits and the level that made them."""
    curve = np.asarray(decisions.link_calibration)[np.maximum(level, 0)]
    return _sigmoid(curve[:, 0] * logit + curve[:, 1])


def _decide(
    mine: torch.Tensor, boxes: BoxColumns, chains: Chains, candidates: Candidates, decisions: Decisions,
    settings: LabelSettings,
) -> _Kept:  # fmt: skip
    """Which tracks and which of their boxes stay, with calibrated probabilities."""
    node = chains.node[mine].cpu().numpy()
    row = boxes.row[mine].cpu().numpy()
    slope, offset = decisions.box_calibration
    validity = _sigmoid(slope * chains.box_logit[mine].cpu().numpy() + offset)
    inside = node >= 0
    # one more than there are tracks, so that -1 (no track) finds a place of its own, also where no track is left
    count = np.bincount(node[inside], minlength=chains.num_nodes + 1)
    share = np.bincount(node[inside], validity[inside], chains.num_nodes + 1) / np.maximum(count, 1)
    keep = inside.copy()
    if settings.node_classification:
        keep &= (share[node] >= decisions.track) & (validity >= decisions.box)
    left = np.bincount(node[keep], minlength=chains.num_nodes + 1)
    keep &= left[node] >= settings.min_boxes
    level = chains.link_level[mine].cpu().numpy()
    made = link_probability(np.nan_to_num(chains.link_next[mine].cpu().numpy(), nan=30.0), level, decisions)
    made = np.where(level >= 0, made, 1.0)
    seam = np.full(len(mine), len(decisions.link_calibration) - 1)
    missed = link_probability(chains.rival[mine].cpu().numpy(), seam, decisions)
    order = np.lexsort((candidates.frame[row], node))
    order = order[keep[order]]
    after = _bridge(made, node, candidates.frame[row], order)
    return _Kept(row[order], node[order], validity[order].astype(np.float32), after.astype(np.float32),
                 _link_entropy(after, missed[order], node[order]))  # fmt: skip


def _bridge(made: NDArray, node: NDArray, frame: NDArray, kept: NDArray) -> NDArray:
    """Probability of the step from each kept box to the next kept one: the product over the links between them."""
    whole = np.lexsort((frame, node))
    total = np.concatenate([[0.0], np.cumsum(np.log(np.maximum(made[whole], 1e-12)))])
    place = np.empty(len(node), np.int64)
    place[whole] = np.arange(len(node))
    here = place[kept]
    after = np.ones(len(kept))
    same = node[kept][1:] == node[kept][:-1]
    after[:-1][same] = np.exp(total[here[1:]] - total[here[:-1]])[same]
    return after


def _link_entropy(after: NDArray, missed: NDArray, node: NDArray) -> NDArray[np.float32]:
    """Greatest entropy of the links at every box.

    To the next, from the previous, and at a track's ends of the best rival.
    """
    out = np.where(after < 1, entropy(after), 0.0)
    same = node[1:] == node[:-1]
    before = np.zeros_like(out)
    before[1:][same] = out[:-1][same]
    is_end = np.ones(len(node), bool)
    is_end[1:-1] = ~(same[1:] & same[:-1]) if len(node) > 2 else is_end[1:-1]
    return np.maximum(np.maximum(out, before), np.where(is_end, entropy(missed), 0.0)).astype(np.float32)


def _finish(kept: _Kept, candidates: Candidates, max_gap: int, smooth: bool) -> Tracks:
    """Fill and smooth kept boxes, and put all columns into their final order."""
    frame = candidates.frame[kept.row]
    filled = fill_gaps(frame, candidates.xyxy[kept.row], kept.track, max_gap)
    xyxy = filled.xyxy
    if smooth and len(filled):
        xyxy = smooth_tracks(filled.frame, xyxy, filled.track, observed=~filled.is_filled)
    left, right = filled.left_row, filled.right_row
    # A box inside a gap is right if its track goes on through the gap and both ends are right.
    validity = np.where(
        filled.is_filled,
        np.minimum(kept.validity[left], kept.validity[right]) * kept.link_after[left],
        kept.validity[left],
    )
    link = np.where(filled.is_filled, entropy(kept.link_after[left]), kept.link_entropy[left])
    uncertainty = entropy(validity)
    start = np.full(int(filled.track.max(initial=-1)) + 1, np.iinfo(np.int64).max)
    np.minimum.at(start, filled.track, filled.frame)
    ids = np.unique(filled.track)
    ids = ids[np.argsort(start[ids], kind="stable")]
    number = np.zeros(len(start), np.int64)
    number[ids] = np.arange(len(ids))
    track = number[filled.track]
    order = np.lexsort((track, filled.frame))
    observed = ~filled.is_filled
    count = np.bincount(track[observed], minlength=len(ids))
    track_validity = np.bincount(track[observed], validity[observed], len(ids)) / np.maximum(count, 1)
    track_uncertainty = np.zeros(len(ids), np.float32)
    np.maximum.at(track_uncertainty, track, np.maximum(uncertainty, link))
    keyframe = np.zeros(len(track), bool)
    keyframe[observed] = _gap_ends(filled.is_filled, filled.track)[observed]
    return Tracks(
        frame=filled.frame[order].astype(np.int64), xyxy=xyxy[order].astype(np.float32), track_index=track[order],
        class_index=candidates.class_index[kept.row[left]][order].astype(np.int64),
        validity=validity[order].astype(np.float32), uncertainty=uncertainty[order],
        link_uncertainty=link[order].astype(np.float32),
        source=np.where(filled.is_filled, Source.INTERPOLATED, Source.MODEL)[order].astype(np.uint8),
        keyframe=keyframe[order], candidate_index=np.where(filled.is_filled, -1, kept.row[left])[order],
        track_validity=track_validity.astype(np.float32), track_uncertainty=track_uncertainty,
    )  # fmt: skip


def _gap_ends(is_filled: NDArray[np.bool_], track: NDArray) -> NDArray[np.bool_]:
    """(M,) bool: boxes next to a filled one of their track; rows sorted by (track, frame)."""
    out = np.zeros(len(track), bool)
    same = track[1:] == track[:-1]
    out[1:] |= same & is_filled[:-1]
    out[:-1] |= same & is_filled[1:]
    return out
