"""How far off a walk's box, a straight line and a fused box are expected to be, in plain numbers fitted on films.

Errors are counted as in ``gaps.to_offset``: of the centre in widths and heights of the box, of the sides in their
logarithms; a pair of numbers is always (centre, sides).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError

Floats = NDArray[np.float64]

#: What the error of a walk's box is told from, see ``fusing.Opinions.features``.
WALK_FEATURES = 8

#: What the confidence of a fused box is told from, see ``trust_features``.
TRUST_FEATURES = 9

#: Overlap lost for an expected error of 1 of the centre, and of the sides.
LOSS = (1.6, 0.8)


@dataclass(frozen=True)
class Calibration:
    """What the tracker's words are worth; kept with its weights.

    Attributes:
        centre: coefficients of ``WALK_FEATURES`` for the logarithm of the squared error of a walk's centre.
        sides: likewise of its sides.
        bend: logarithm of how far objects leave the straight line over one second, root mean square, and the power of
            the gap's seconds with which it grows; for centre, then for sides.
        inner: coefficients of ``TRUST_FEATURES`` for the log odds that a box in a gap between two boxes is right.
        open: likewise in an open end.
        line: likewise for a box on the straight line.

    Raises:
        InputError: for a wrong number of coefficients, or such as are not finite.
    """

    centre: tuple[float, ...] = (-7.5, 4.0, 0.3, 0.3, 1.0, 0.5, 0.0, 0.0)
    sides: tuple[float, ...] = (-6.5, 3.0, 0.3, 0.3, 1.0, 0.5, 0.0, 0.0)
    bend: tuple[float, ...] = (-1.8, 1.0, -2.5, 0.7)
    inner: tuple[float, ...] = (-2.0, -2.5, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0)
    open: tuple[float, ...] = (-2.0, -2.0, 2.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0)
    line: tuple[float, ...] = (-2.0, -2.5, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0)

    def __post_init__(self) -> None:
        sizes = {"centre": WALK_FEATURES, "sides": WALK_FEATURES, "bend": 4}
        for field in fields(self):
            value, size = getattr(self, field.name), sizes.get(field.name, TRUST_FEATURES)
            if len(value) != size or not np.isfinite(value).all():
                raise InputError(f"calibration: {field.name} is {value!r}; it must be {size} finite numbers")

    @classmethod
    def read(cls, stored: Mapping[str, Any] | None) -> Calibration:
        """The calibration that ``plain`` and JSON have been through; the usual one if nothing is stored."""
        if not stored:
            return cls()
        try:
            return cls(**{key: tuple(float(n) for n in value) for key, value in stored.items()})
        except TypeError as error:
            raise InputError(f"calibration: {sorted(stored)} are not those of this version") from error

    def plain(self) -> dict[str, list[float]]:
        """Lists of numbers by name, for JSON."""
        return {key: list(value) for key, value in asdict(self).items()}


def expected_loss(variance: Floats) -> Floats:
    """(N,) overlap that is expected to be lost, by the variances (N, 2) of centre and sides."""
    return np.sqrt(np.maximum(variance, 0)) @ np.array(LOSS)


def probability(features: Floats, coefficients: tuple[float, ...]) -> Floats:
    """(N,) in (0, 1), of features (N, F)."""
    return 1 / (1 + np.exp(-np.clip(features @ np.array(coefficients), -12, 12)))


def trust_features(
    variance: Floats, quality: Floats, score: Floats, apart: Floats, off: Floats, middle: Floats, gap: Floats,
    size: Floats,
) -> Floats:  # fmt: skip
    """(N, TRUST_FEATURES) what the confidence of boxes is told from.

    Args:
        variance: (N, 2) expected squared error of centre and sides.
        quality: (N,) the better of the two walks' expected overlaps.
        score: (N,) likewise of their probabilities.
        apart: (N,) overlap of the two walks' boxes, 0 where there is but one.
        off: (N,) overlap of the box with the straight line's.
        middle: (N,) way to the nearer human box, as a share of the gap: 0.5 in the middle, 1 in open ends.
        gap: (N,) frames to the nearer human box.
        size: (N,) pixels, root of the area.
    """
    columns = (
        np.ones(len(gap)),
        np.log(expected_loss(variance) + 1e-2),
        quality,
        score,
        apart,
        off,
        middle,
        np.log(gap),
        np.log(np.maximum(size, 1.0)) - 4,
    )
    return np.stack(columns, 1)


def fit_logistic(features: Floats, right: NDArray[np.bool_], weight: float = 5.0) -> tuple[float, ...]:
    """Coefficients that make ``probability`` that of ``right``, pulled to zero as ``weight`` says.

    Args:
        features: (N, F), the first column ones.
        right: (N,).
        weight: of the pull.
    """
    theta = np.zeros(features.shape[1])
    pull = np.full(len(theta), weight)
    pull[0] = 1e-3
    for _ in range(50):
        p = 1 / (1 + np.exp(-np.clip(features @ theta, -30, 30)))
        gradient = features.T @ (p - right) + pull * theta
        hessian = (features * (p * (1 - p))[:, None]).T @ features + np.diag(pull + 1e-6)
        step = np.linalg.solve(hessian, gradient)
        theta = theta - np.clip(step, -2, 2)
        if np.abs(step).max() < 1e-7:
            break
    return tuple(float(each) for each in theta)


def fit_variance(features: Floats, square: Floats, weight: float = 5.0) -> tuple[float, ...]:
    """Coefficients of the logarithm of an expected square, by Newton's method on the normal likelihood.

    Args:
        features: (N, F), the first column ones.
        square: (N,) squared errors; clipped, so that a few lost targets do not speak for all.
        weight: of the pull to zero.
    """
    square = np.clip(square, 1e-6, 1.0)
    theta = np.zeros(features.shape[1])
    theta[0] = np.log(square.mean())
    pull = np.full(len(theta), weight)
    pull[0] = 1e-3
    for _ in range(100):
        ratio = square * np.exp(-np.clip(features @ theta, -20, 5))
        gradient = features.T @ (1 - ratio) / 2 + pull * theta
        # The expected curvature, which is positive whatever the errors are.
        hessian = features.T @ features / 2 + np.diag(pull + 1e-6)
        step = np.linalg.solve(hessian, gradient)
        theta = theta - np.clip(step, -1, 1)
        if np.abs(step).max() < 1e-6:
            break
    return tuple(float(each) for each in theta)


def calibration_error(confidence: NDArray[np.floating], right: NDArray[np.bool_], bins: int = 10) -> float:
    """Expected calibration error: mean distance of confidence and share of right ones, over bins of equal width."""
    if not len(confidence):
        return 0.0
    which = np.minimum((np.asarray(confidence, np.float64) * bins).astype(np.int64), bins - 1)
    count = np.bincount(which, minlength=bins)
    gap = np.bincount(which, confidence, bins) - np.bincount(which, np.asarray(right, np.float64), bins)
    return float(np.abs(gap).sum() / max(count.sum(), 1))
