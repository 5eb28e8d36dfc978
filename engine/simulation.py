"""The effort curve: what labels are worth after so many clicks of a simulated person."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from ..models.columns import Candidates, Source, Tracks, VideoInfo
from ..models.errors import InputError
from ..models.spam import LabelSettings, SpamModel
from ..models.spam.constraints import Constraints
from ..models.spam.model import LabelSession
from .acquisition import rule
from .annotator import Sight, SimulatedAnnotator
from .answers import Answer, Box
from .experience import learn
from .filling import Fills, Keyframes
from .metrics import TrackTable, TruthTable, VideoScores, combine, evaluate_video
from .pool import View, all_queries
from .propagation import SavedFills, keyframes_of, with_fills
from .queries import Query, Question
from .resolve import Problem, resolve

CLICKS_PER_BOX = 3  # to label by hand: two for the box, one for whose it is
METRICS = ("HOTA", "IDF1", "MOTA")


@dataclass(frozen=True)
class SimulatedVideo:
    """One video with its ground truth.

    Attributes:
        key: names it uniquely.
        info: its name, length, size and frame rate.
        candidates: the detector's boxes.
        truth: all ground truth; what is ignored is neither drawn nor scored.
        class_names: names of the candidates' classes, by index.
    """

    key: str
    info: VideoInfo
    candidates: Candidates
    truth: TruthTable
    class_names: tuple[str | None, ...] = ()

    @property
    def targets(self) -> TruthTable:
        """The ground truth that counts."""
        keep = np.ones(len(self.truth), bool)
        if self.truth.ignored is not None:
            keep &= ~np.asarray(self.truth.ignored)
        if self.truth.class_id is not None:
            keep &= np.asarray(self.truth.class_id) == 1
        return TruthTable(self.truth.frame[keep], self.truth.track_id[keep], self.truth.xyxy[keep])


@dataclass(frozen=True)
class Plan:
    """How a simulation goes.

    Attributes:
        budgets: percent of the clicks that labelling by hand takes, ascending; 0 is the labels without any.
        acquisition: name of the rule.
        rounds_per_percent: how often the labels are computed anew for each percent of effort.
        error_rate: share of answers that are wrong.
        seed: of errors and of random choice.
        preprocess: as in ``evaluate_video``.

    Raises:
        InputError: for budgets that are negative, over 100 or not ascending, and other values out of range.
    """

    budgets: tuple[float, ...] = (0.0, 1.0, 2.0, 3.3, 5.0, 7.5, 10.0, 20.0)
    acquisition: str = "boxes"
    rounds_per_percent: float = 4.0
    error_rate: float = 0.0
    seed: int = 0
    preprocess: str | None = None

    def __post_init__(self) -> None:
        for budget in self.budgets:
            if not 0 <= budget <= 100:
                raise InputError(f"a budget of {budget:g} % is not between 0 and 100")
        if list(self.budgets) != sorted(set(self.budgets)) or not self.budgets:
            raise InputError(f"budgets {list(self.budgets)} must ascend")
        if not 0 <= self.error_rate < 1:
            raise InputError(f"error_rate is {self.error_rate}; it must be at least 0 and less than 1")
        if not self.rounds_per_percent > 0:
            raise InputError(f"rounds_per_percent is {self.rounds_per_percent}; it must be more than 0")
        rule(self.acquisition)


@dataclass(frozen=True)
class Point:
    """The labels after one budget.

    Attributes:
        budget: percent, as asked for.
        clicks: that were spent.
        effort: percent of labelling by hand that they are.
        scores: of all videos as one.
        videos: key -> clicks, effort and scores of each.
        rounds: computed so far.
        problems: contradictions that are open.
        by_question: kind of question -> how many were asked.
        extra: what ``watch`` returned, by video.
    """

    budget: float
    clicks: int
    effort: float
    scores: Mapping[str, float]
    videos: Mapping[str, Mapping[str, float]]
    rounds: int
    problems: int
    by_question: Mapping[str, int]
    extra: Mapping[str, Any] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """Plain values, as JSON wants them."""
        return {
            "budget": self.budget, "clicks": self.clicks, "effort": round(self.effort, 4), **self.scores,
            "rounds": self.rounds, "contradictions": self.problems, "questions": dict(self.by_question),
            "videos": {key: dict(values) for key, values in self.videos.items()},
        }  # fmt: skip


class Filler(Protocol):
    """Follows objects between and around the boxes that a person drew."""

    def fill(self, key: str, info: VideoInfo, keys: Keyframes, candidates: Candidates) -> Fills:
        """What it saw in one video; asked again with more boxes, it need only look at what is new.

        Args:
            key: of the video.
            info: of the video.
            keys: the drawn boxes, by object; objects may be numbered otherwise the next time.
            candidates: of the video.
        """


class Desk:
    """One video in simulation: its labels, the person who answers, and what was said so far."""

    def __init__(
        self, video: SimulatedVideo, model: SpamModel, settings: LabelSettings, plan: Plan, seed: int,
        before: Desk | None = None, filler: Filler | None = None,
    ) -> None:  # fmt: skip
        """A desk; with ``before``, what was said at that one holds here too, and is paid for."""
        self.video, self._filler = video, filler
        self.session: LabelSession = model.session(video.info, video.candidates, settings)
        rng = np.random.default_rng([plan.seed, seed])
        self.person = SimulatedAnnotator(video.key, video.targets, plan.error_rate, rng)
        self.answers: list[Answer] = list(before.answers) if before is not None else []
        self.asked: dict[str, int] = {}
        self.clicks: int = before.clicks if before is not None else 0
        self.problems: tuple[Problem, ...] = ()
        self._boxes: dict[int, Box] = {}
        self.view = self._look()
        self._sight: Sight | None = None

    def _look(self) -> View:
        found = resolve(self.answers, self.video.info, self.video.candidates, self.video.class_names)
        tracks = self.session.label(self._filled(found.constraints))
        self.problems, filled = found.problems, bool((tracks.source == Source.PROPAGATED).any())
        return View(
            self.video.key, self.video.info, self.video.candidates, found.constraints, tracks, self.session.beliefs,
            self.session.offsets, learn(self.answers, self.video.info, filled), self._boxes,
        )  # fmt: skip

    def _filled(self, said: Constraints) -> Constraints:
        if self._filler is None or not len(said.frame):
            return said
        keys = keyframes_of(said)
        fills = self._filler.fill(self.video.key, self.video.info, keys, self.video.candidates)
        return with_fills(self.video.candidates, said, SavedFills.of(fills, keys))

    def refresh(self) -> None:
        """Labels anew with all answers."""
        self.view = self._look()
        self._sight = None

    def ask(self, query: Query) -> int:
        """Asks one question; returns what it cost."""
        if self._sight is None:
            self._sight = self.person.look(self.view)
        reply = self.person.answer(query, self._sight)
        if not reply.clicks:
            return 0
        self.answers += reply.answers
        self.asked[query.key] = self.asked.get(query.key, 0) + 1
        self.clicks += reply.clicks
        return reply.clicks

    def open_queries(self) -> list[Query]:
        """Questions that were not asked before, or whose answer did not hold."""
        again = {problem.answer.query for problem in self.problems if problem.kind == "contradiction"}
        return [
            q
            for q in all_queries(self.view)
            if q.question is Question.MISSING  # until the frame is complete; then it is not among them
            or not self.asked.get(q.key)
            or (q.key in again and self.asked[q.key] < 3)
        ]

    def score(self, preprocess: str | None) -> VideoScores:
        """What the labels are worth now."""
        tracks: Tracks = self.view.tracks
        table = TrackTable(tracks.frame, tracks.track_index, tracks.xyxy.astype(float).round(2))
        return evaluate_video(
            self.video.truth, table, self.video.info.num_frames, preprocess, name=self.video.info.name
        )


def simulate(
    videos: Sequence[SimulatedVideo], model: SpamModel, plan: Plan, settings: LabelSettings | None = None,
    progress: Callable[[float, str], None] | None = None, watch: Callable[[str, View], Any] | None = None,
    desks: dict[str, Desk] | None = None, filler: Filler | None = None,
) -> list[Point]:  # fmt: skip
    """The effort curve of some videos that share one budget.

    Args:
        videos: with their ground truth.
        model: what labels.
        plan: how it goes.
        settings: of the labelling.
        progress: told the share that is done, and what is being done.
        watch: called with every video's key and view at each budget; what it returns goes into ``Point.extra``.
        desks: of the videos, by key, to go on with; None for new ones. Afterwards they hold what was said.
        filler: follows objects around the boxes that were drawn, before labels are computed anew; None for nobody.

    Raises:
        InputError: if no video has ground truth.
    """
    counted = sum(len(video.targets) for video in videos)
    if not counted:
        raise InputError("there is no ground truth to answer from: no video has a box that counts")
    tell = progress or (lambda share, what: None)
    settings = settings or LabelSettings()
    if desks is None:
        desks = {v.key: Desk(v, model, settings, plan, number, filler=filler) for number, v in enumerate(videos)}
    whole = CLICKS_PER_BOX * counted
    order, rng = rule(plan.acquisition), np.random.default_rng(plan.seed)
    kinds: dict[str, int] = {}
    points: list[Point] = []
    rounds = 0
    for budget in plan.budgets:
        allowed = int(whole * budget / 100)
        while (spent := sum(desk.clicks for desk in desks.values())) < allowed:
            target = min(allowed, spent + max(1, round(whole / 100 / plan.rounds_per_percent)))
            queries = [query for desk in desks.values() for query in desk.open_queries()]
            chosen = order(queries, {key: desk.view for key, desk in desks.items()}, rng)
            asked = 0
            for query in chosen:
                if spent + query.cost > target and (asked or spent + query.cost > allowed):
                    continue
                clicks = desks[query.video].ask(query)
                if not clicks:
                    continue
                spent += clicks
                kinds[query.question.value] = kinds.get(query.question.value, 0) + 1
                asked += 1
                if spent >= target:
                    break
            if not asked:
                break  # nothing is left that is worth a question, or that the budget pays for
            rounds += 1
            for desk in desks.values():
                desk.refresh()
            tell(min(1.0, spent / max(whole * plan.budgets[-1] / 100, 1)), f"{spent} clicks")
        points.append(_point(budget, whole, desks, plan, rounds, kinds, watch))
    return points


def _point(
    budget: float, whole: int, desks: Mapping[str, Desk], plan: Plan, rounds: int, kinds: Mapping[str, int],
    watch: Callable[[str, View], Any] | None,
) -> Point:  # fmt: skip
    scores = {key: desk.score(plan.preprocess) for key, desk in desks.items()}
    clicks = sum(desk.clicks for desk in desks.values())
    videos = {
        key: {
            "clicks": desk.clicks,
            "effort": 100 * desk.clicks / max(1, CLICKS_PER_BOX * len(desk.video.targets)),
            **_chosen(scores[key]),
        }
        for key, desk in desks.items()
    }
    return Point(
        budget, clicks, 100 * clicks / whole, _chosen(combine(list(scores.values()))), videos, rounds,
        sum(problem.kind == "contradiction" for desk in desks.values() for problem in desk.problems), dict(kinds),
        {} if watch is None else {key: watch(key, desk.view) for key, desk in desks.items()},
    )  # fmt: skip


def _chosen(scores: VideoScores) -> dict[str, float]:
    values = scores.as_dict(percent=True)
    return {name: float(values[name]) for name in METRICS}
