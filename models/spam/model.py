"""SPAM as users of this package meet it: candidates of videos in, tracks with calibrated uncertainty out.

SPAM: "SPAMming Labels: Efficient Annotations for the Trackers of Tomorrow", Cetintas et al., ECCV 2024.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from ..columns import Candidates, Tracks, VideoInfo
from ..errors import InputError, MissingError
from ..weights_file import DEFAULT_WEIGHTS
from .beliefs import Beliefs, decide
from .columns import BoxColumns, gather_boxes
from .constraints import Constraints
from .context import describe
from .decoding import Chains, Decisions, Memory, decode
from .finishing import finish
from .graph import Appearance, fit_appearance
from .hierarchy import WINDOWS, plan_levels
from .keyframes import Offsets
from .network import NetworkConfig, SpamNetwork
from .settings import LabelSettings
from .stabilisation import stabilise
from .ties import gather_ties


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
        self, videos: Sequence[tuple[VideoInfo, Candidates]], settings: LabelSettings | None = None,
        constraints: Sequence[Constraints | None] | None = None,
    ) -> list[Tracks]:  # fmt: skip
        """Tracks of every video; the same inputs give the same tracks.

        Args:
            videos: what is known of each video, and its candidates; frames must lie inside the video.
            settings: what to leave out or change.
            constraints: what people said of each video; the tracks keep to it. None for nothing.

        Raises:
            InputError: for a candidate behind the end of its video, or constraints of another number of candidates.
        """
        settings = settings or LabelSettings()
        for info, candidates in videos:
            _check_frames(info, candidates)
        given = constraints if constraints is not None else [None] * len(videos)
        said = [_checked(one, *video) for one, video in zip(given, videos, strict=True)]
        # Videos that pass through the same levels go together, so that no video's labels depend on its company.
        depth = [len(plan_levels(info.num_frames, settings.num_levels)) for info, _ in videos]
        out: dict[int, Tracks] = {}
        for levels in sorted(set(depth)):
            group = [index for index, own in enumerate(depth) if own == levels]
            run = self._prepare([videos[index] for index in group], settings)
            chains = self._decode(run, settings, [said[index] for index in group])
            for place, index in enumerate(group):  # videos, not boxes
                mine = (run.boxes.lane_video[run.boxes.lane] == place).nonzero()[:, 0]
                info, candidates = videos[index]
                kept, _ = decide(mine, run.boxes, chains, candidates, self.decisions, settings, said[index])
                out[index], _ = finish(kept, said[index], info, candidates, settings)
        return [out[index] for index in range(len(videos))]

    def chains(
        self, videos: Sequence[tuple[VideoInfo, Candidates]], settings: LabelSettings
    ) -> tuple[BoxColumns, Chains]:
        """The hierarchy's decisions before any threshold on validity; for calibration."""
        run = self._prepare(videos, settings)
        return run.boxes, self._decode(run, settings, [None] * len(videos))

    def _prepare(self, videos: Sequence[tuple[VideoInfo, Candidates]], settings: LabelSettings) -> _Run:
        boxes = gather_boxes(videos, WINDOWS[-1], self.device, settings.use_embedding)
        with torch.no_grad():
            context, partners = describe(boxes)
            boxes = stabilise(boxes, partners)
            appearance = fit_appearance(boxes)
        longest = max((info.num_frames for info, _ in videos), default=1)
        return _Run(boxes, context, appearance, longest)

    def _decode(
        self, run: _Run, settings: LabelSettings, said: Sequence[Constraints | None], memory: Memory | None = None
    ) -> Chains:
        return decode(
            self.network, run.boxes, run.context, run.appearance, self.decisions, run.longest, settings.num_levels,
            settings.node_classification, settings.consensus, gather_ties(said, run.boxes), memory,
        )  # fmt: skip

    def session(self, info: VideoInfo, candidates: Candidates, settings: LabelSettings | None = None) -> LabelSession:
        """One video to be labelled again and again as answers come in."""
        return LabelSession(self, info, candidates, settings or LabelSettings())


class LabelSession:
    """One video that is labelled again and again; only what an answer touches is computed again.

    What does not depend on answers (features, the links that both phases make) is computed once; of the rest only the
    windows of 512 frames in which something has changed, and the level over the whole video. Labels equal those of
    ``SpamModel.label`` with the same constraints.

    Attributes:
        beliefs: what the model believed when it last labelled.
        offsets: what drawn boxes taught when it last labelled.
        windows_computed: windows of 512 frames that it had to compute last.
    """

    beliefs: Beliefs
    offsets: Offsets

    def __init__(self, model: SpamModel, info: VideoInfo, candidates: Candidates, settings: LabelSettings) -> None:
        _check_frames(info, candidates)
        self._model, self._info, self._candidates, self._settings = model, info, candidates, settings
        self._run = model._prepare([(info, candidates)], settings)
        self._memory = Memory()

    @property
    def windows_computed(self) -> int:
        """Windows of 512 frames that the last labelling had to compute."""
        return self._memory.windows_computed

    def label(self, constraints: Constraints | None = None) -> Tracks:
        """Tracks that keep to what people said.

        Args:
            constraints: all that was said so far, not only what is new; None for nothing.

        Raises:
            InputError: for constraints of another number of candidates.
        """
        said = _checked(constraints, self._info, self._candidates)
        chains = self._model._decode(self._run, self._settings, [said], self._memory)
        mine = torch.arange(len(self._run.boxes))
        kept, self.beliefs = decide(
            mine, self._run.boxes, chains, self._candidates, self._model.decisions, self._settings, said
        )
        tracks, self.offsets = finish(kept, said, self._info, self._candidates, self._settings)
        return tracks


@dataclass(frozen=True)
class _Run:
    """What of some videos depends on no answer."""

    boxes: BoxColumns
    context: torch.Tensor
    appearance: Appearance | None
    longest: int


def _check_frames(info: VideoInfo, candidates: Candidates) -> None:
    if len(candidates) and candidates.frame[-1] >= info.num_frames:
        raise InputError(
            f"video {info.name!r}: a candidate lies in frame {int(candidates.frame[-1]) + 1}, but the video "
            f"has {info.num_frames} frames"
        )


def _checked(constraints: Constraints | None, info: VideoInfo, candidates: Candidates) -> Constraints:
    if constraints is None:
        return Constraints.none(len(candidates))
    if constraints.num_candidates != len(candidates):
        raise InputError(
            f"video {info.name!r}: constraints are about {constraints.num_candidates} candidates, but there are "
            f"{len(candidates)}; resolve the answers with the candidates that are labelled"
        )
    outside = (constraints.frame < 0) | (constraints.frame >= info.num_frames)
    if outside.any():
        raise InputError(
            f"video {info.name!r}: a drawn box lies in frame {int(constraints.frame[outside][0]) + 1}, but the video "
            f"has {info.num_frames} frames"
        )
    return constraints
