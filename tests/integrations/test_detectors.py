"""Detectors by their names; the checkpoints of transformers are tiny, random, and made on the spot."""

import json
import pickle
import shutil

import numpy as np
import pytest
import torch

from spam_plugin.integrations.detectors import open_detector
from spam_plugin.models.detector.detector import DEFAULT_WEIGHTS, Detections
from spam_plugin.models.errors import InputError, MissingError

transformers = pytest.importorskip("transformers")

NAMES = {"id2label": {0: "person", 1: "car"}, "label2id": {"person": 0, "car": 1}}
SMALL = {"encoder_ffn_dim": 16, "decoder_ffn_dim": 16, "d_model": 16, "num_queries": 12, "encoder_attention_heads": 2,
         "decoder_attention_heads": 2, "decoder_layers": 2}  # fmt: skip
LIKE_RT = {**SMALL, "encoder_hidden_dim": 16, "decoder_in_channels": [16, 16, 16], "num_denoising": 0}


def detr():
    backbone = transformers.ResNetConfig(
        embedding_size=8, hidden_sizes=[8, 16, 16, 16], depths=[1] * 4, layer_type="basic", out_features=["stage4"]
    )
    config = transformers.DetrConfig(
        use_timm_backbone=False, use_pretrained_backbone=False, backbone=None, backbone_config=backbone,
        encoder_layers=1, **SMALL, **NAMES,
    )  # fmt: skip
    return transformers.DetrForObjectDetection(config)


def rt_detr_v2():
    backbone = transformers.RTDetrResNetConfig(
        embedding_size=8, hidden_sizes=[8, 8, 16, 16], depths=[1] * 4, layer_type="basic",
        out_features=["stage2", "stage3", "stage4"],
    )  # fmt: skip
    config = transformers.RTDetrV2Config(
        backbone_config=backbone, encoder_in_channels=[8, 16, 16], **LIKE_RT, **NAMES
    )  # fmt: skip
    return transformers.RTDetrV2ForObjectDetection(config)


def d_fine():
    backbone = transformers.HGNetV2Config(
        stem_channels=[3, 8, 8], stage_in_channels=[8, 8, 16, 16], stage_mid_channels=[8] * 4, depths=[1] * 4,
        stage_out_channels=[8, 16, 16, 16], stage_num_blocks=[1] * 4, stage_numb_of_layers=[1] * 4, embedding_size=8,
        hidden_sizes=[8, 16, 16, 16], out_features=["stage2", "stage3", "stage4"],
    )  # fmt: skip
    config = transformers.DFineConfig(
        backbone_config=backbone, encoder_in_channels=[16, 16, 16], **LIKE_RT, **NAMES
    )  # fmt: skip
    return transformers.DFineForObjectDetection(config)


def yolos():
    config = transformers.YolosConfig(
        hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16, image_size=[64, 64],
        num_detection_tokens=10, **NAMES,
    )  # fmt: skip
    return transformers.YolosForObjectDetection(config)


def saved(model, folder, **said):
    model.save_pretrained(folder)
    said = {"size": {"height": 64, "width": 64}, "do_normalize": False, **said}
    (folder / "preprocessor_config.json").write_text(json.dumps(said))
    return folder


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    """Folder of a small YOLOS, not to be changed."""
    torch.manual_seed(0)
    return saved(yolos(), tmp_path_factory.mktemp("checkpoint") / "small-yolos")


@pytest.fixture
def copied(checkpoint, tmp_path):
    return shutil.copytree(checkpoint, tmp_path / "copy")


def noise(count=3):
    return [np.random.default_rng(n).integers(0, 255, (48, 80, 3), np.uint8) for n in range(count)]


@pytest.mark.parametrize("make", [detr, rt_detr_v2, d_fine, yolos])
def test_checkpoints_of_transformers_find_what_the_model_itself_finds(make, tmp_path):
    torch.manual_seed(1)
    model = make().eval()
    with torch.no_grad():
        for name, weights in model.named_parameters():
            if "bbox" in name:
                weights.add_(torch.randn_like(weights))  # else all boxes are the same
    detector = open_detector(saved(model, tmp_path), least_score=0.0)
    assert detector.classes == ("person", "car")
    assert detector.version.startswith(model.config.model_type)
    images = [np.full((64, 64, 3), 40 * n, np.uint8) for n in range(3)]
    found = detector.detect(images)
    assert {0, 1, 2} == set(found.frame.tolist())
    assert np.isfinite(found.xyxy).all()
    with torch.no_grad():
        given = model(torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2) / 255.0)
    logits = given.logits
    each = logits.sigmoid() if logits.shape[-1] == 2 else logits.softmax(-1)[..., :2]
    best = each.max(-1).values
    for image in range(3):
        first = found.frame.tolist().index(image)
        row = int(best[image].argmax())
        x, y, wide, tall = (given.pred_boxes[image, row] * 64).tolist()
        assert found.score[first] == pytest.approx(float(best[image, row]), abs=1e-5)
        assert found.xyxy[first] == pytest.approx([x - wide / 2, y - tall / 2, x + wide / 2, y + tall / 2], abs=1e-2)


def test_what_an_image_gives_does_not_depend_on_the_others(checkpoint):
    detector = open_detector(checkpoint, least_score=0.0)
    alone = detector.detect(noise()[1:2])
    together = detector.detect(noise())
    rows = together.frame == 1
    assert np.allclose(together.xyxy[rows], alone.xyxy, atol=1e-3)


def test_the_version_tells_weights_apart(checkpoint, tmp_path):
    torch.manual_seed(2)
    other = saved(yolos(), tmp_path / "small-yolos")
    first, second = open_detector(checkpoint).version, open_detector(other).version
    assert first != second
    assert first == open_detector(str(checkpoint)).version
    assert first.startswith("yolos:small-yolos-")


def test_the_default_is_ours_and_classes_may_be_chosen():
    assert open_detector().version == open_detector("default").version == "detector-1"
    assert open_detector(DEFAULT_WEIGHTS).version.startswith("detector-1-")
    detector = open_detector(None, least_score=0.01)
    everything = detector.detect(noise())
    cars = open_detector(None, least_score=0.01, classes=["car"]).detect(noise())
    assert len(cars) == (everything.class_index == 1).sum()
    assert (cars.class_index == 1).all()
    with pytest.raises(InputError, match="knows no class 'dog'; it knows: pedestrian, car"):
        open_detector(classes=["dog"])
    with pytest.raises(InputError, match="no class is left"):
        open_detector(classes=[])


def test_pickled_weights_are_refused(copied, tmp_path):
    for name in ("weights.pt", "model.bin"):
        (tmp_path / name).write_bytes(pickle.dumps({}))
        with pytest.raises(InputError, match="pickled weights can run any code"):
            open_detector(tmp_path / name)
    (copied / "model.safetensors").unlink()
    torch.save({}, copied / "pytorch_model.bin")
    with pytest.raises(InputError, match=r"pytorch_model\.bin: pickled weights can run any code"):
        open_detector(copied)


def test_a_truncated_checkpoint_is_named(copied):
    file = copied / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(InputError, match=r"model\.safetensors: truncated"):
        open_detector(copied)


def test_a_model_of_another_kind_is_refused(tmp_path):
    config = transformers.ViTConfig(hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16)
    transformers.ViTModel(config).save_pretrained(tmp_path)
    with pytest.raises(InputError, match="not a model that transformers"):
        open_detector(tmp_path)


def test_weights_that_are_only_a_part_of_the_model_are_refused(copied):
    transformers.YolosModel(yolos().config).save_pretrained(copied)
    with pytest.raises(InputError, match=r"the weights lack .* tensors of this model"):
        open_detector(copied)


def test_code_that_comes_with_a_checkpoint_is_not_run(copied):
    said = json.loads((copied / "config.json").read_text())
    said |= {"model_type": "mine", "auto_map": {"AutoConfig": "mine.Mine", "AutoModelForObjectDetection": "mine.Mine"}}
    (copied / "config.json").write_text(json.dumps(said))
    (copied / "mine.py").write_text("raise SystemExit('it ran')")
    with pytest.raises(InputError, match="not a model that transformers"):
        open_detector(copied)


@pytest.mark.parametrize(
    ("file", "text", "message"),
    [
        ("config.json", None, r"no config\.json"),
        ("config.json", "{", r"config\.json: no JSON"),
        ("preprocessor_config.json", None, r"no preprocessor_config\.json"),
        ("preprocessor_config.json", '{"size": {"side": 3}}', r"preprocessor_config\.json: size"),
        ("model.safetensors", None, r"no \*\.safetensors"),
    ],
)
def test_what_a_folder_lacks_is_named(copied, file, text, message):
    if text is None:
        (copied / file).unlink()
    else:
        (copied / file).write_text(text)
    with pytest.raises(InputError, match=message):
        open_detector(copied)


def test_a_hub_that_cannot_be_reached_is_told_with_the_way_out(monkeypatch):
    import huggingface_hub

    def away(name, **options):
        assert options["allow_patterns"] == ["*.json", "*.safetensors"]
        raise huggingface_hub.errors.LocalEntryNotFoundError("no connection")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", away)
    with pytest.raises(InputError, match=r"'some/one': .*hub cannot be reached.*give a folder instead"):
        open_detector("some/one")


def test_a_hub_id_is_loaded_from_where_it_was_fetched_to(checkpoint, monkeypatch):
    import huggingface_hub

    monkeypatch.setattr(huggingface_hub, "snapshot_download", lambda name, **options: str(checkpoint))
    assert open_detector("some/one").version.startswith("yolos:some/one-")


def test_names_that_can_be_nothing_are_refused():
    for name in ("./no/such/folder", "a/b/c", "two words"):
        with pytest.raises(MissingError, match="no such folder"):
            open_detector(name)
    with pytest.raises(MissingError, match="no such file"):
        open_detector("nothing.safetensors")
    with pytest.raises(InputError, match="int is no detector"):
        open_detector(3)


class Zoo:
    """What a model of FiftyOne looks like."""

    media_type = "image"

    def __init__(self, label):
        self.label, self.entered = label, False

    def __enter__(self):
        self.entered = True
        return self

    def __exit__(self, *error):
        self.entered = False

    def predict(self, image):
        assert self.entered
        assert image.dtype == np.uint8
        return self.label


def test_a_model_of_fiftyone_is_a_detector():
    import fiftyone as fo

    boxes = [
        fo.Detection(label="car", bounding_box=[0.5, 0.5, 0.25, 0.25], confidence=0.3),
        fo.Detection(label="person", bounding_box=[0, 0, 0.5, 1], confidence=0.9),
        fo.Detection(label="dog", bounding_box=[0, 0, 0.5, 1], confidence=0.01),
    ]
    detector = open_detector(Zoo({"found": fo.Detections(detections=boxes)}))
    found = detector.detect(noise(2))
    assert detector.classes == ("person", "car")
    assert found.frame.tolist() == [0, 0, 1, 1]
    assert found.xyxy[:2].tolist() == [[0, 0, 40, 48], [40, 24, 60, 36]]
    assert found.score[:2] == pytest.approx([0.9, 0.3])
    assert len(open_detector(Zoo(fo.Detections(detections=boxes)), classes=["car"]).detect(noise(1))) == 1
    assert len(open_detector(Zoo(None)).detect(noise(1))) == 0
    with pytest.raises(InputError, match="gives Classification, not Detections"):
        open_detector(Zoo(fo.Classification(label="street"))).detect(noise(1))


def test_a_name_of_the_zoo_is_loaded_there_or_named(monkeypatch):
    import fiftyone as fo
    import fiftyone.zoo as foz

    monkeypatch.setattr(foz, "list_zoo_models", lambda: ["yolo-small", "yolo-large", "broken"])

    def load(name):
        if name == "broken":
            raise ImportError("it needs torchvision")
        return Zoo(fo.Detections())

    monkeypatch.setattr(foz, "load_zoo_model", load)
    assert open_detector("zoo:yolo-small").version == "zoo:yolo-small"
    with pytest.raises(MissingError, match="no model 'yolo-tiny'; similar: yolo-small, yolo-large"):
        open_detector("zoo:yolo-tiny")
    with pytest.raises(InputError, match=r"cannot be loaded \(it needs torchvision\)"):
        open_detector("zoo:broken")


def test_what_is_a_detector_already_stays_what_it_is():
    class Mine:
        version, classes = "mine", ("thing",)

        def detect(self, images):
            none = np.zeros(0, np.int64)
            return Detections(none, np.zeros((0, 4), np.float32), np.zeros(0, np.float32), none)

    mine = Mine()
    assert open_detector(mine) is mine
