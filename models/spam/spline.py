"""Smoothing splines of many tracks at once: one banded system, solved in linear time.

A track's true course is modelled as an integrated Wiener process (a velocity that wanders), its boxes as that course
plus independent noise. The posterior mean is then a cubic smoothing spline (Wahba 1978), which Reinsch (1967) reduces
to a five-diagonal system in the second divided differences of the data, here called *contrasts*: one for every row that
has a neighbour of its own track on both sides. Contrasts of different tracks share no row, so all tracks together are
still one five-diagonal system, and LAPACK's banded Cholesky solves it without a loop of ours. Contrasts are blind to
straight motion, hence their likelihood is exactly the restricted likelihood (REML) of the model: no improper prior to
mind.

    contrasts            z = Q' y,  one row of Q': (1/h1, -1/h1 - 1/h2, 1/h2)
    their covariance     sigma^2 (Q' V Q + R / stiffness)
    the smoothed course  y - V Q S^-1 z           with S = Q' V Q + R / stiffness
    its second derivative at the knots            q S^-1 z / stiffness

V is the diagonal of relative noise variances, R the covariance that a velocity of diffusion q gives to the contrasts.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import lapack

Floats = NDArray[np.float64]
RIDGE = 1e-10  # keeps the matrix positive definite after rounding, whatever the noise of neighbouring rows


@dataclass(frozen=True)
class SplineSystem:
    """The banded system of some tracks whose rows are sorted by (track, time); see ``spline_system``.

    Attributes:
        middle: (M,) row at the middle of each contrast.
        coefficients: (3, M) what the rows before, at and after the middle count in it, 1/frames.
        noise: (N,) relative noise variance of each row, the diagonal of V.
        noise_band: (3, M) lower band of Q' V Q.
        motion_band: (2, M) lower band of R, frames.
        diffusion: (M,) relative variance that the velocity gains per frame, at the middle row.
    """

    middle: NDArray[np.int64]
    coefficients: Floats
    noise: Floats
    noise_band: Floats
    motion_band: Floats
    diffusion: Floats

    def contrasts(self, values: Floats) -> Floats:
        """(N, C) values to (M, C) second divided differences."""
        before, at, after = self.coefficients[:, :, None]
        return before * values[self.middle - 1] + at * values[self.middle] + after * values[self.middle + 1]

    def solve(self, contrasts: Floats, stiffness: Floats | float) -> tuple[Floats, Floats]:
        """Solve S x = z for one stiffness (or one per contrast, constant along a track).

        Args:
            contrasts: (M, C), M > 0.
            stiffness: positive; noise variance over diffusion, frames^3. A course bends within about the fourth root of
                it in frames.

        Returns:
            (M, C) the solution, and (M,) terms whose sum over a track is the log determinant of its block of S.
        """
        band = self.noise_band.copy(order="F")
        band[:2] += self.motion_band / stiffness
        band[0] *= 1.0 + RIDGE
        factor, failed = lapack.dpbtrf(band, lower=1, overwrite_ab=1)
        if failed:
            raise ArithmeticError(f"spline system is not positive definite at contrast {failed}")
        solution, _ = lapack.dpbtrs(factor, np.asfortranarray(contrasts), lower=1)
        return solution, 2.0 * np.log(factor[0])

    def corrections(self, solution: Floats) -> Floats:
        """What to subtract from the data to smooth it: V Q x, (N, C), for a ``solution`` x of ``solve``."""
        out = np.zeros((len(self.noise), solution.shape[1]))
        # A row is the middle of at most one contrast, so plain indexed addition adds every term.
        out[self.middle - 1] += self.coefficients[0][:, None] * solution
        out[self.middle] += self.coefficients[1][:, None] * solution
        out[self.middle + 1] += self.coefficients[2][:, None] * solution
        return out * self.noise[:, None]


def spline_system(time: Floats, track: NDArray[np.int64], noise: Floats, diffusion: Floats) -> SplineSystem:
    """Set up the system of all tracks.

    Args:
        time: (N,) frames, increasing within a track; steps may be uneven.
        track: (N,) rows of one track are neighbours.
        noise: (N,) relative noise variance of each row, positive.
        diffusion: (N,) relative variance that the velocity gains per frame, positive.
    """
    middle = np.flatnonzero(track[2:] == track[:-2]) + 1
    left, right = time[middle] - time[middle - 1], time[middle + 1] - time[middle]
    before, after = 1.0 / left, 1.0 / right
    at = -before - after

    # Contrasts j and j + k overlap only if their middles are k rows apart: then they are of one track.
    noise_band = np.empty((3, len(middle)), order="F")
    noise_band[0] = before**2 * noise[middle - 1] + at**2 * noise[middle] + after**2 * noise[middle + 1]
    noise_band[1:] = 0.0
    motion_band = np.zeros((2, len(middle)))
    diffusion_left = left * (diffusion[middle - 1] + diffusion[middle]) / 2
    diffusion_right = right * (diffusion[middle] + diffusion[middle + 1]) / 2
    motion_band[0] = (diffusion_left + diffusion_right) / 3
    if len(middle) > 1:
        next_to = middle[1:] == middle[:-1] + 1
        shared = at[:-1] * before[1:] * noise[middle[:-1]] + after[:-1] * at[1:] * noise[middle[1:]]
        noise_band[1, :-1] = np.where(next_to, shared, 0.0)
        motion_band[1, :-1] = np.where(next_to, diffusion_right[:-1] / 6, 0.0)
    if len(middle) > 2:
        noise_band[2, :-2] = np.where(
            middle[2:] == middle[:-2] + 2, after[:-2] * before[2:] * noise[middle[:-2] + 1], 0.0
        )
    return SplineSystem(middle, np.stack([before, at, after]), noise, noise_band, motion_band, diffusion[middle])


def evaluate_spline(
    position: Floats, step: Floats, start: Floats, stop: Floats, start_bend: Floats, stop_bend: Floats
) -> Floats:
    """Cubic between two knots, from its values and second derivatives there.

    Args:
        position: (K,) where between the knots, in [0, 1].
        step: (K,) frames between the knots.
        start: (K, C) values at the earlier knots.
        stop: (K, C) values at the later knots.
        start_bend: (K, C) second derivatives at the earlier knots, per frame^2.
        stop_bend: (K, C) second derivatives at the later knots, per frame^2.
    """
    right, step = position[:, None], step[:, None]
    left = 1.0 - right
    bend = (1.0 + left) * start_bend + (1.0 + right) * stop_bend
    return left * start + right * stop - step**2 / 6 * left * right * bend
