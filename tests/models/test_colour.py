import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from spam_plugin.models.appearance.colour import DIMENSIONS, _lab, describe
from spam_plugin.models.errors import InputError

RED, BLUE, GREY = (0, 0, 200), (200, 0, 0), (120, 120, 120)


def two_tone(top, bottom, height=80, width=40):
    image = np.zeros((height, width, 3), np.uint8)
    image[: height // 2], image[height // 2 :] = top, bottom
    return image


def whole(image):
    return np.array([[0, 0, image.shape[1], image.shape[0]]], np.float32)


def described(image):
    return describe(image, whole(image))[0]


def test_the_same_colours_are_alike_at_any_size_and_others_are_not():
    person = described(two_tone(RED, BLUE))
    assert person @ described(two_tone(RED, BLUE, 31, 17)) > 0.99
    assert person @ described(two_tone(GREY, GREY)) < 0.6


def test_where_a_colour_is_matters():
    assert described(two_tone(RED, BLUE)) @ described(two_tone(BLUE, RED)) < 0.6


def test_a_little_less_light_moves_a_little():
    bright, dim, dark = (described(two_tone((v, v, v), (v, v, v))) for v in (200, 185, 40))
    assert bright @ dim > 0.95 > bright @ dark


def test_boxes_of_one_image_are_described_independently():
    image = np.random.default_rng(0).integers(0, 255, (90, 120, 3), dtype=np.uint8)
    boxes = np.array([[3, 4, 40, 80], [50.5, 10, 70, 60.25], [0, 0, 120, 90]], np.float64)
    apart = np.concatenate([describe(image, box[None]) for box in boxes])
    np.testing.assert_allclose(describe(image, boxes), apart, atol=1e-6)


def test_what_lies_outside_the_image_is_not_counted():
    image = two_tone(RED, BLUE)
    half_outside = described(image) @ describe(image, np.array([[-20, 0, 20, 80]], np.float32))[0]
    assert half_outside > 0.99


@settings(max_examples=50, deadline=None)
@given(
    arrays(np.uint8, st.tuples(st.integers(1, 20), st.integers(1, 20), st.just(3))),
    st.lists(
        st.tuples(*[st.floats(-50, 50), st.floats(-50, 50), st.floats(0.01, 80), st.floats(0.01, 80)]), max_size=5
    ),
)
def test_every_box_has_a_finite_descriptor_of_unit_length(image, found):
    boxes = np.array([(x, y, x + w, y + h) for x, y, w, h in found], np.float32).reshape(-1, 4)
    vectors = describe(image, boxes)
    assert vectors.shape == (len(boxes), DIMENSIONS)
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)


def test_colours_are_taken_to_cielab():
    bgr = torch.tensor([[0.0, 0, 1], [1, 1, 1], [0, 0, 0], [1, 0, 0]])
    known = torch.tensor([[53.24, 80.09, 67.20], [100, 0, 0], [0, 0, 0], [32.30, 79.19, -107.86]])
    torch.testing.assert_close(_lab(bgr), known, atol=0.01, rtol=0)


@pytest.mark.parametrize(
    ("image", "boxes"),
    [
        (np.zeros((8, 8), np.uint8), np.zeros((0, 4))),
        (np.zeros((8, 8, 3), np.float32), np.zeros((0, 4))),
        (np.zeros((8, 8, 3), np.uint8), np.zeros(4)),
    ],
)
def test_an_image_or_boxes_of_another_shape_or_type_are_refused(image, boxes):
    with pytest.raises(InputError, match="expected"):
        describe(image, boxes)
