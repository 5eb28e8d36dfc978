"""Rendered videos: the same for a seed, and boxes and visibility that agree with the pixels."""

from __future__ import annotations

import numpy as np
import pytest

from spam_plugin.models.columns import VideoInfo
from spam_plugin.models.errors import InputError
from spam_plugin.models.synthetic.depot import draw_beast, draw_crystal, draw_robot
from spam_plugin.models.synthetic.figures import CAR, PEDESTRIAN, draw_car, draw_occluder, draw_pedestrian
from spam_plugin.models.synthetic.motion import move_camera
from spam_plugin.models.synthetic.render import RenderedFrame, RenderSettings, Truth, render

SMALL = {"num_frames": 6, "width": 200, "height": 120}


def film(seed: int = 3, **kwargs: object) -> list[RenderedFrame]:
    return list(render(RenderSettings(**{**SMALL, **kwargs}), np.random.default_rng(seed)))  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def street() -> list[RenderedFrame]:
    return film()


def test_the_same_seed_gives_the_same_video_and_another_seed_another(street):
    again, other = film(), film(seed=4)
    assert all(
        (a.image == b.image).all() and (a.truth.xyxy == b.truth.xyxy).all() for a, b in zip(street, again, strict=True)
    )
    assert not (street[0].image == other[0].image).all()


def test_frames_are_pictures_of_the_size_asked_for(street):
    assert len(street) == 6
    for number, shot in enumerate(street):
        assert shot.image.shape == (120, 200, 3)
        assert shot.image.dtype == np.uint8
        assert (shot.truth.frame == number).all()
        assert (np.diff(shot.truth.track) > 0).all()
        assert shot.image.std() > 20


def test_frames_come_one_at_a_time():
    lazy = render(RenderSettings(num_frames=10**6, width=64, height=48, num_objects=1), np.random.default_rng(0))
    assert next(iter(lazy)).image.shape == (48, 64, 3)


@pytest.mark.parametrize("scene", ["street", "road"])
@pytest.mark.parametrize(("camera", "domain"), [("still", "town"), ("walk", "town"), ("pan", "town"), ("pan", "depot")])
def test_every_pixel_of_an_object_lies_inside_its_box(scene, camera, domain):
    checked = 0
    for shot in film(scene=scene, camera=camera, num_objects=16, domain=domain):
        for track, box in zip(shot.truth.track, shot.truth.xyxy, strict=True):
            rows, columns = np.nonzero(shot.owner == track)
            if len(rows):
                assert columns.min() + 1 > box[0] - 1
                assert columns.max() < box[2] + 1
                assert rows.min() + 1 > box[1] - 1
                assert rows.max() < box[3] + 1
                checked += 1
    assert checked > 10


def test_a_fully_visible_object_fills_its_box_to_all_four_sides():
    checked = 0
    for shot in film(num_objects=6, num_occluders=0, width=320, height=200, scene="road"):
        inside = (shot.truth.xyxy[:, :2] >= 0).all(1) & (shot.truth.xyxy[:, 2:] <= [320, 200]).all(1)
        for row in np.flatnonzero(inside & (shot.truth.visibility == 1)):
            rows, columns = np.nonzero(shot.owner == shot.truth.track[row])
            seen = np.array([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1])
            assert np.abs(seen - shot.truth.xyxy[row]).max() < 2
            checked += 1
    assert checked > 3


def test_an_occluder_lowers_visibility_and_leaves_the_boxes_alone():
    free, hidden = (Truth.join([s.truth for s in film(num_occluders=n, scene="road")]) for n in (0, 12))
    assert (free.visibility > 0.99).any()
    assert hidden.visibility.mean() < free.visibility.mean() - 0.02


def test_who_stands_nearer_covers_who_stands_farther():
    checked = 0
    for shot in film(num_objects=40, num_occluders=0, num_frames=3):
        truth = shot.truth
        # The ground is flat: whose feet are lower in the image stands nearer.
        nearest = int(truth.xyxy[:, 3].argmax())
        box = truth.xyxy[nearest]
        if box[0] >= 0 and box[2] <= 200 and box[1] >= 0 and box[3] <= 120:
            assert truth.visibility[nearest] == 1
            checked += 1
        feet = dict(zip(truth.track.tolist(), truth.xyxy[:, 3].tolist(), strict=True))
        for track, row in zip(truth.track, truth.xyxy, strict=True):
            middle = shot.owner[max(int(row[1]), 0) : int(row[3]), max(int(row[0]), 0) : int(row[2])]
            others = set(np.unique(middle).tolist()) & set(feet)
            covering = [other for other in others if other != track and feet[other] > feet[int(track)]]
            if truth.visibility[truth.track == track][0] < 0.99 and row[0] >= 0 and row[2] <= 200 and row[3] <= 120:
                assert covering or row[1] < 0
                checked += 1
    assert checked


def test_nearer_people_are_larger(street):
    truth = Truth.join([s.truth for s in street])
    tall = truth.xyxy[:, 3] - truth.xyxy[:, 1]
    assert np.corrcoef(truth.xyxy[:, 3], tall)[0, 1] > 0.9


def test_objects_move_smoothly(street):
    truth = Truth.join([s.truth for s in street])
    for track in np.unique(truth.track):
        boxes = truth.xyxy[truth.track == track]
        assert np.abs(np.diff(boxes, axis=0)).max(initial=0) < 0.1 * 200


def test_the_camera_moves_the_background_only_when_it_is_asked_to():
    def change(camera: str) -> float:
        shots = film(camera=camera, num_objects=0, num_occluders=0, light_change=0.0)
        return float(np.abs(shots[0].image.astype(float) - shots[-1].image).mean())

    assert change("still") < 6 < change("pan")


def test_light_changes_over_time():
    shots = film(light_change=0.4, num_frames=40, frame_rate=10.0, num_objects=0)
    brightness = [shot.image.mean() for shot in shots]
    assert max(brightness) > 1.2 * min(brightness)


def test_streets_have_people_and_roads_have_cars(street):
    assert set(street[0].truth.class_index) == {PEDESTRIAN}
    cars = Truth.join([s.truth for s in film(scene="road")])
    assert set(cars.class_index) == {CAR}


def test_an_empty_street_has_no_truth():
    truth = Truth.join([s.truth for s in film(num_objects=0)])
    assert len(truth) == 0
    assert truth.xyxy.shape == (0, 4)
    assert len(Truth.join([])) == 0


def test_figures_are_patterned_and_tight():
    rng = np.random.default_rng(0)
    for figure in (draw_pedestrian(rng), draw_car(rng), draw_car(rng, sideways=False), draw_occluder(rng)):
        shown = (figure.film[..., 3] > 127).any(0)
        assert shown[0].any()
        assert shown[-1].any()
        assert shown[:, 0].any()
        assert shown[:, -1].any()
        assert len(np.unique(figure.film[figure.film[..., 3] > 200][:, :3], axis=0)) > 20
    first, second = draw_pedestrian(rng), draw_pedestrian(rng)
    assert first.film.shape != second.film.shape or not (first.film == second.film).all()


def test_the_depot_is_another_world_of_the_same_classes_and_paths():
    for scene, kind in (("street", PEDESTRIAN), ("road", CAR)):
        town, depot, again = (film(scene=scene, domain=domain) for domain in ("town", "depot", "depot"))
        assert set(Truth.join([shot.truth for shot in depot]).class_index) == {kind}
        assert not (town[0].image == depot[0].image).all()
        assert all((a.image == b.image).all() for a, b in zip(depot, again, strict=True))


def test_figures_of_the_depot_fill_their_films():
    rng = np.random.default_rng(0)
    for figure in (draw_robot(rng), draw_beast(rng), draw_crystal(rng), draw_crystal(rng), draw_crystal(rng)):
        shown = (figure.film[..., 3] > 127).any(0)
        assert all(side.any() for side in (shown[0], shown[-1], shown[:, 0], shown[:, -1]))


def test_a_walking_camera_comes_nearer():
    camera = move_camera(np.random.default_rng(0), "walk", 50, 25.0, 640, 360)
    assert camera.place[-1, 1] > camera.place[0, 1] + 1


@pytest.mark.parametrize(
    "wrong",
    [
        {"num_frames": 0},
        {"width": 8},
        {"frame_rate": float("nan")},
        {"scene": "sea"},
        {"camera": "drone"},
        {"light_change": 2.0},
        {"domain": "moon"},
    ],
)
def test_settings_that_cannot_be_filmed_are_refused(wrong):
    with pytest.raises(InputError, match=next(iter(wrong))):
        RenderSettings(**wrong)


def test_settings_tell_the_label_engine_about_the_video():
    assert RenderSettings("a", 5, 64, 48, 10.0).info == VideoInfo("a", 5, 64, 48, 10.0)
