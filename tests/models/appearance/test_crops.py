import cv2
import numpy as np
import pytest

from spam_plugin.models.appearance.crops import CROP_SIZE, cut
from spam_plugin.models.errors import InputError


def picture(height=120, width=160, seed=0):
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 255, (height // 8, width // 8, 3)).astype(np.uint8)
    return cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)


def test_a_box_of_the_size_of_a_crop_is_cut_out_as_it_is():
    image = picture(200, 200)
    (crop,) = cut(image, np.array([[10.0, 20.0, 58.0, 116.0]]))
    np.testing.assert_array_equal(crop, image[20:116, 10:58])


def test_boxes_are_cut_as_each_alone_would_be():
    image = picture(400, 500)
    boxes = np.array([[3.5, 4, 60, 90], [-20, -30, 40, 50], [100, 50, 480, 399], [300, 300, 302, 303.0]])
    together = cut(image, boxes)
    for box, crop in zip(boxes, together, strict=True):
        np.testing.assert_allclose(crop.astype(int), cut(image, box[None])[0].astype(int), atol=1)


def test_a_large_box_is_averaged_and_does_not_flicker():
    board = (np.indices((768, 384)).sum(0) % 2 * 255).astype(np.uint8)
    (crop,) = cut(np.repeat(board[..., None], 3, 2), np.array([[0.0, 0, 384, 768]]))
    assert abs(float(crop.mean()) - 127.5) < 3
    assert crop.std() < 5


def test_outside_the_picture_its_border_goes_on():
    image = np.full((50, 50, 3), 7, np.uint8)
    (crop,) = cut(image, np.array([[-40.0, -40, 90, 90]]))
    assert (crop == 7).all()


def test_no_boxes_are_no_crops():
    assert cut(picture(), np.zeros((0, 4))).shape == (0, *CROP_SIZE, 3)


@pytest.mark.parametrize(
    ("image", "boxes", "words"),
    [
        (np.zeros((5, 5), np.uint8), np.zeros((1, 4)), "image has shape"),
        (np.zeros((5, 5, 3)), np.zeros((1, 4)), "uint8"),
        (np.zeros((5, 5, 3), np.uint8), np.zeros((1, 5)), "expected \\(N, 4\\)"),
        (np.zeros((5, 5, 3), np.uint8), np.array([[0, 0, 1, 1], [2, 2, 2, 3.0]]), "box 1 is"),
        (np.zeros((5, 5, 3), np.uint8), np.array([[0, 0, np.nan, 1]]), "box 0 is"),
    ],
)
def test_what_cannot_be_cut_is_named(image, boxes, words):
    with pytest.raises(InputError, match=words):
        cut(image, boxes)
