from types import SimpleNamespace

import numpy as np
import pytest
import torch

from spam_plugin.models.detector.detector import DetectSettings
from spam_plugin.models.detector.transformers_ import Preparation, TransformersDetector
from spam_plugin.models.errors import InputError

NAMES = {0: "person", 1: "car", 2: "N/A"}


class Head(torch.nn.Module):
    """Gives what it is told to, and notes what it was given; at most ``room`` images at a time."""

    def __init__(self, logits, boxes, room=99, names=NAMES):
        super().__init__()
        self.config = SimpleNamespace(id2label=names)
        self.logits, self.boxes, self.room, self.sizes = torch.tensor(logits), torch.tensor(boxes), room, []

    def forward(self, pixel_values):
        self.sizes.append(len(pixel_values))
        if len(pixel_values) > self.room:
            raise torch.OutOfMemoryError("no room")
        self.pixels = pixel_values
        count = len(pixel_values)
        return SimpleNamespace(logits=self.logits.expand(count, -1, -1), pred_boxes=self.boxes.expand(count, -1, -1))


LOGITS = [[[2.0, 0.0, 9.0], [-1.0, 1.0, 0.0], [1.9, -3.0, 0.0], [-9.0, -9.0, -9.0]]]
BOXES = [[[0.5, 0.5, 0.2, 0.4], [0.2, 0.2, 0.1, 0.1], [0.5, 0.51, 0.2, 0.4], [0.8, 0.8, 0.1, 0.1]]]


def blank(count=1, height=50, width=100):
    return [np.full((height, width, 3), 51, np.uint8)] * count


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def test_a_query_gives_one_box_of_its_best_class_and_doubles_are_suppressed():
    found = TransformersDetector(Head(LOGITS, BOXES), Preparation({}), "head-1").detect(blank(2))
    assert found.frame.tolist() == [0, 0, 1, 1]
    assert found.class_index.tolist() == [0, 1, 0, 1]  # "N/A" is no class, and the third box is the first again
    assert np.allclose(found.score[:2], [sigmoid(2), sigmoid(1)])
    assert np.allclose(found.xyxy[:2], [[40, 15, 60, 35], [15, 7.5, 25, 12.5]])


def test_a_head_with_a_class_for_nothing_gives_softmax_scores():
    logits = [[[1.0, 0.0, -9.0, 2.0]]]
    found = TransformersDetector(Head(logits, [[BOXES[0][0]]]), Preparation({}), "head-1").detect(blank())
    assert np.allclose(found.score, np.exp(1) / (np.exp(1) + 1 + np.exp(-9) + np.exp(2)))


def test_only_classes_that_are_asked_for_are_reported():
    one = TransformersDetector(Head(LOGITS, BOXES), Preparation({}), "head-1", keep=["car"])
    found = one.detect(blank())
    assert set(found.class_index.tolist()) == {1}
    assert np.allclose(found.score.max(), sigmoid(1))
    with pytest.raises(InputError, match="knows no class 'dog'; it knows: person, car"):
        TransformersDetector(Head(LOGITS, BOXES), Preparation({}), "head-1", keep=["dog"])


def test_scores_and_numbers_of_boxes_are_as_the_settings_say():
    settings = DetectSettings(least_score=0.5, most=1, overlap=1.0)
    found = TransformersDetector(Head(LOGITS, BOXES), Preparation({}), "head-1", settings=settings).detect(blank(3))
    assert found.frame.tolist() == [0, 1, 2]
    assert np.allclose(found.score, sigmoid(2))
    broken = [[[float("nan")] * 3, *LOGITS[0][1:]]]
    assert len(TransformersDetector(Head(broken, BOXES), Preparation({}), "head-1").detect(blank())) == 2


def test_images_of_one_size_are_run_together_and_stay_in_their_places():
    head = Head(LOGITS, BOXES)
    images = [*blank(2), *blank(1, 40, 40), *blank(1)]
    found = TransformersDetector(head, Preparation({}), "head-1").detect(images)
    assert head.sizes == [3, 1]
    assert found.frame.tolist() == [0, 0, 1, 1, 2, 2, 3, 3]
    assert found.xyxy[4].tolist() == pytest.approx([16, 12, 24, 28])
    assert len(TransformersDetector(head, Preparation({}), "head-1").detect([])) == 0


def test_a_batch_that_does_not_fit_into_memory_is_halved_until_it_does():
    head = Head(LOGITS, BOXES, room=2)
    detector = TransformersDetector(head, Preparation({}), "head-1", settings=DetectSettings(batch=8))
    assert len(detector.detect(blank(7))) == 14
    assert head.sizes == [7, 4, 2, 2, 2, 1]
    head.room = 0
    with pytest.raises(InputError, match="one image of 100 x 50 pixels does not fit"):
        detector.detect(blank())


def test_a_model_without_boxes_or_a_device_that_is_not_there_is_named():
    with pytest.raises(InputError, match="gives no boxes with a score for each of its 3 classes"):
        TransformersDetector(Head([[[0.0] * 9]], [[BOXES[0][0]]]), Preparation({}), "head-1").detect(blank())
    with pytest.raises(InputError, match="device 'gpu9'"):
        TransformersDetector(Head(LOGITS, BOXES), Preparation({}), "head-1", "gpu9")


@pytest.mark.parametrize(
    ("said", "size", "target"),
    [
        ({"size": {"height": 64, "width": 96}}, (50, 100), (64, 96)),
        ({"size": {"shortest_edge": 80, "longest_edge": 133}}, (50, 100), (66, 133)),
        ({"size": {"shortest_edge": 80, "longest_edge": 333}}, (100, 50), (160, 80)),
        ({"size": 80, "max_size": 100}, (50, 50), (80, 80)),
        ({"size": {"max_height": 100, "max_width": 60}}, (50, 100), (30, 60)),
        ({"size": {"height": 64, "width": 96}, "do_resize": False}, (50, 100), (50, 100)),
    ],
)
def test_pictures_get_the_size_that_the_checkpoint_says(said, size, target):
    assert Preparation.read(said).target(*size) == target


@pytest.mark.parametrize(
    "said",
    [
        {"size": {"side": 3}},
        {"size": {"height": 0, "width": 2}},
        {"size": {"height": "tall", "width": 2}},
        {"image_mean": "much"},
        {"image_mean": [1, 2], "image_std": [1, 2]},
    ],
)
def test_a_preparation_that_cannot_be_is_named(said):
    with pytest.raises(InputError, match=r"preprocessor_config\.json"):
        Preparation.read(said)


@pytest.mark.parametrize("kind", ["DetrImageProcessorPil", "RTDetrImageProcessorPil", "YolosImageProcessorPil"])
@pytest.mark.parametrize("shape", [(48, 80), (90, 60), (64, 64)])
def test_pictures_are_prepared_as_the_image_processors_of_transformers_do(kind, shape):
    transformers = pytest.importorskip("transformers")
    processor = getattr(transformers, kind, None)
    if processor is None:
        pytest.skip(f"this transformers has no {kind}")
    size = {"height": 64, "width": 96} if kind.startswith("RT") else {"shortest_edge": 56, "longest_edge": 90}
    processor = processor(size=size, image_mean=[0.4, 0.5, 0.6], image_std=[0.2, 0.3, 0.4])
    image = np.random.default_rng(0).integers(0, 255, (*shape, 3), np.uint8)
    wanted = torch.as_tensor(np.array(processor(image, return_tensors="np")["pixel_values"]))
    ours = Preparation.read(processor.to_dict()).apply(torch.from_numpy(image).permute(2, 0, 1)[None])
    assert ours.shape == wanted.shape
    assert (ours - wanted).abs().max() < 2.1 / 255 / 0.2  # Pillow rounds after each of two passes
