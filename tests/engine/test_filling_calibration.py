"""Calibration on films: it learns what a tracker is worth, good or bad."""

from __future__ import annotations

import numpy as np
import pytest
from matching_tracker import MatchingTracker

from spam_plugin.engine.filling_calibration import calibrate, draw_keys, film_settings, shoot
from spam_plugin.models.spot.confidence import Calibration


def test_what_is_learned_on_films_makes_a_calibration_and_is_judged_on_other_films() -> None:
    found, report = calibrate(MatchingTracker(), 2, 20)  # type: ignore[arg-type]
    assert found != Calibration()
    assert Calibration.read(found.plain()) == found
    assert report.boxes > 20
    assert report.fused_iou > report.line_iou - 0.05
    assert 0 <= report.error <= 1


def test_films_and_human_boxes_are_the_same_again_and_every_other_track_has_open_ends() -> None:
    settings = film_settings(2, 12)[0]
    one, two = shoot(settings, 770_000), shoot(settings, 770_000)
    assert all((a == b).all() for a, b in zip(one.images, two.images, strict=True))
    keys = draw_keys(one.truth)
    for track in np.unique(one.truth.track):
        frames = one.truth.frame[one.truth.track == track]
        drawn = keys.frame[keys.track == track]
        assert len(drawn)
        if track % 2 == 0:
            assert (drawn[0], drawn[-1]) == (frames.min(), frames.max())
        elif len(frames) > 3:
            assert frames.min() < drawn[0] <= drawn[-1] < frames.max()


@pytest.mark.parametrize("count", [1, 12])
def test_every_camera_and_domain_is_among_enough_films(count: int) -> None:
    films = film_settings(count)
    assert len(films) == count
    if count == 12:
        assert {film.camera for film in films} == {"still", "shake", "walk", "pan"}
        assert {film.domain for film in films} == {"town", "depot"}
