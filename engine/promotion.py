"""The gate: a new model is used only if answers that are held out say that it is no worse than the one in use.

Every answer that is held out is judged twice, so what counts is the difference. It is uncertain, and answers may be
wrong: of a model that learnt from wrong answers a third of the answers that judge it may be wrong, too. So a new model
must be better by more than chance explains; where nothing tells the two apart, the one in use stays.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri, stdtrit

from ..models.errors import InputError
from .agreement import Agreement


@dataclass(frozen=True)
class GateSettings:
    """How sure the gate must be.

    Attributes:
        level: of the interval of the difference, in (0, 1); a new model is promoted if all of it is above 0, so a
            model that is as good as the one in use is promoted in (1 - level) / 2 of cases.
        least_answers: that are held out, to judge at all.
        least_places: blocks of time that they must come from, at least 2.
        resamples: of the bootstrap.
        seed: of the bootstrap.

    Raises:
        InputError: for values out of range.
    """

    level: float = 0.8
    least_answers: int = 20
    least_places: int = 5
    resamples: int = 2000
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0 < self.level < 1:
            raise InputError(f"gate: level is {self.level}; it must lie between 0 and 1")
        for key in ("least_answers", "least_places", "resamples"):
            least = 2 if key == "least_places" else 1
            if getattr(self, key) < least:
                raise InputError(f"gate: {key} is {getattr(self, key)}; it must be at least {least}")


@dataclass(frozen=True)
class Verdict:
    """What the gate says of a new model.

    Attributes:
        promoted: whether it is to be used.
        reason: why, in a sentence.
        difference: mean agreement of the new model less that of the one in use, in [-1, 1].
        interval: of the difference, at the level of the settings.
        answers: that both were judged by.
        places: blocks of time that these come from.
        current: mean agreement of the model in use; None without answers.
        new: the same of the new one.
    """

    promoted: bool
    reason: str
    difference: float = 0.0
    interval: tuple[float, float] = (-1.0, 1.0)
    answers: int = 0
    places: int = 0
    current: float | None = None
    new: float | None = None

    def as_dict(self) -> dict[str, Any]:
        """Plain values, as JSON wants them."""
        return {**asdict(self), "interval": list(self.interval)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Verdict:
        """Those of ``as_dict``."""
        low, high = values["interval"]
        return cls(**{**values, "interval": (float(low), float(high))})


def judge(current: Agreement, new: Agreement, settings: GateSettings | None = None) -> Verdict:
    """Whether a new model is to be used instead of the one in use.

    The difference is that of paired scores; its interval comes from a bootstrap over blocks of time, as answers about
    one place stand or fall together. An answer that only one of the two was judged by is left out.

    Args:
        current: of the model in use, with answers that neither learnt from.
        new: of the new model, with the same answers.
        settings: how sure the gate must be.
    """
    settings = settings or GateSettings()
    gain, place, before, after = _pairs(current, new)
    count, places = len(gain), int(place.max(initial=-1)) + 1
    if not count:
        return Verdict(
            False,
            "no answers are held out that could judge the new version, so it is kept and not used; answer questions, "
            "or choose it yourself",
        )
    known: dict[str, Any] = {
        "answers": count,
        "places": places,
        "current": float(before.mean()),
        "new": float(after.mean()),
    }
    difference = float(gain.mean())
    if count < settings.least_answers or places < settings.least_places:
        return Verdict(
            False,
            f"only {count} answers from {places} places are held out, too few to judge by ({settings.least_answers} "
            f"from {settings.least_places} are needed), so the new version is kept and not used; answer more, or "
            "choose it yourself",
            difference,
            **known,
        )
    interval = _interval(gain, place, settings)
    said = (
        f"it agrees with {known['new']:.1%} of {count} answers that are held out, the version in use with "
        f"{known['current']:.1%} (difference {100 * difference:+.1f} points, {settings.level:.0%} interval "
        f"{100 * interval[0]:+.1f} to {100 * interval[1]:+.1f})"
    )
    if interval[0] > 0:
        return Verdict(True, f"promoted: {said}", difference, interval, **known)
    if not gain.any():
        why = "kept, not used, as the answers do not tell the two apart"
    elif interval[1] < 0:
        why = "kept, not used, as it is worse"
    elif difference < 0:
        why = "kept, not used, as it seems worse"
    else:
        why = "kept, not used, as it may be worse for all that can be told"
    return Verdict(False, f"{why}: {said}", difference, interval, **known)


def _pairs(
    current: Agreement, new: Agreement
) -> tuple[NDArray[np.float64], NDArray[np.int64], NDArray[np.float64], NDArray[np.float64]]:
    """(n,) gain, number of the place, score before and score after, of the answers that both were judged by."""
    row = {key: n for n, key in enumerate(current.key)}
    both = [(row[key], n) for n, key in enumerate(new.key) if key in row]
    rows = np.array(both, np.int64).reshape(-1, 2)
    before, after = current.score[rows[:, 0]], new.score[rows[:, 1]]
    names = [current.place[n] for n in rows[:, 0].tolist()]
    number = {name: n for n, name in enumerate(dict.fromkeys(names))}
    return after - before, np.array([number[name] for name in names], np.int64), before, after


def _interval(gain: NDArray[np.float64], place: NDArray[np.int64], settings: GateSettings) -> tuple[float, float]:
    """Of the mean gain, from a bootstrap over places."""
    places = int(place.max()) + 1
    total, number = np.bincount(place, gain, places), np.bincount(place, minlength=places)
    rng = np.random.default_rng(settings.seed)
    drawn = rng.multinomial(places, np.full(places, 1 / places), settings.resamples)
    means = (drawn @ total) / (drawn @ number)
    tail = (1 - settings.level) / 2
    ends = np.quantile(means, [tail, 1 - tail]) - gain.mean()
    # of few places the bootstrap is too sure: it neither loses a degree of freedom nor knows Student's tails
    wider = float(stdtrit(places - 1, 1 - tail) / ndtri(1 - tail)) * (places / (places - 1)) ** 0.5
    low, high = gain.mean() + wider * ends
    return max(float(low), -1.0), min(float(high), 1.0)
