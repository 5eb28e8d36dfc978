"""The tracker as a model of FiftyOne: ``apply_model`` on videos, and as a source of the model zoo."""

import functools
import http.server
import json
import shutil
import sys
import threading
from pathlib import Path

import cv2
import fiftyone as fo
import fiftyone.zoo as foz
import numpy as np
import pytest
from matching_tracker import MatchingTracker

from spam_plugin.integrations.fiftyone_ import zoo
from spam_plugin.integrations.fiftyone_.spot_model import SpotModel
from spam_plugin.models.errors import InputError
from spam_plugin.models.spot.model import Tracker
from spam_plugin.models.spot.network import TrackerConfig, TrackerNetwork

WIDTH, HEIGHT, LENGTH = 160, 120, 14


def place(frame):
    """Relative box of the thing, which goes to and fro."""
    x = 40 + 30 * np.sin(frame / 4)
    return [x / WIDTH, 40 / HEIGHT, 20 / WIDTH, 30 / HEIGHT]


@pytest.fixture(scope="module")
def film(tmp_path_factory):
    path = tmp_path_factory.mktemp("film") / "a.mp4"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"mp4v"), 10.0, (WIDTH, HEIGHT))
    noise = np.random.default_rng(0).integers(0, 255, (6, 4, 3)).astype(np.uint8)
    thing = cv2.resize(noise, (20, 30), interpolation=cv2.INTER_NEAREST)
    for frame in range(LENGTH):
        image = np.full((HEIGHT, WIDTH, 3), 90, np.uint8)
        left = round(place(frame)[0] * WIDTH)
        image[40:70, left : left + 20] = thing
        writer.write(image)
    writer.release()
    return path


@pytest.fixture
def dataset(film):
    made = fo.Dataset()
    sample = fo.Sample(str(film))
    for frame in (0, LENGTH - 1):
        box = fo.Detection(label="thing", bounding_box=place(frame), index=3)
        sample.frames[frame + 1] = fo.Frame(keys=fo.Detections(detections=[box]))
    made.add_sample(sample)
    made.ensure_frames()
    yield made
    made.delete()


def overlap(found, frame):
    a, b = np.array(found), np.array(place(frame))
    side = (np.minimum(a[:2] + a[2:], b[:2] + b[2:]) - np.maximum(a[:2], b[:2])).clip(0)
    inter = side.prod()
    return inter / (a[2:].prod() + b[2:].prod() - inter)


def test_apply_model_follows_what_the_prompts_show(dataset):
    model = SpotModel("frames.keys", MatchingTracker())
    dataset.apply_model(model, label_field="tracks", skip_failures=False)
    found = dataset.first().frames
    boxes = [found[number].tracks.detections for number in range(1, LENGTH + 1)]
    assert [len(one) for one in boxes] == [1] * LENGTH
    assert {(one[0].label, one[0].index) for one in boxes} == {("thing", 3)}
    assert boxes[0][0].bounding_box == pytest.approx(place(0))
    assert {one[0]["source"] for one in boxes[1:-1]} <= {"propagated", "interpolated"}
    assert all(0 <= one[0].confidence <= 1 for one in boxes[1:-1])
    assert np.mean([overlap(one[0].bounding_box, frame) for frame, one in enumerate(boxes)]) > 0.7
    assert dataset.first().frames[5].keys is None


def test_what_cannot_be_is_told_in_a_sentence(dataset, film):
    model = SpotModel("other", MatchingTracker())
    assert model.needs_fields == {"prompt_field": "frames.other"}
    dataset.add_frame_field("other", fo.EmbeddedDocumentField, embedded_doc_type=fo.Detections)
    with pytest.raises(InputError, match="no frame has a box in 'other'"):
        dataset.apply_model(model, label_field="tracks", skip_failures=False)
    with pytest.raises(InputError, match="there is no setting 'speed'"):
        SpotModel("keys", MatchingTracker(), speed=2)
    with pytest.raises(InputError, match="samples with boxes"):
        model.predict(type("Reader", (), {"frame_size": (1, 1), "inpath": "a"})())


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *args):
        pass


@pytest.fixture
def served(tmp_path, monkeypatch):
    """Address of an archive of the zoo's folder, on this machine, and a zoo of our own."""
    monkeypatch.setattr(fo.config, "model_zoo_dir", str(tmp_path / "zoo"))
    source = tmp_path / "copy" / "deep" / "inside"
    source.mkdir(parents=True)
    for name in ("__init__.py", "manifest.json"):
        shutil.copy(Path(zoo.__file__).parent / name, source / name)
    (tmp_path / "web").mkdir()
    shutil.make_archive(str(tmp_path / "web" / "source"), "zip", tmp_path / "copy")
    handler = functools.partial(Quiet, directory=str(tmp_path / "web"))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/source.zip"
        server.shutdown()


def test_a_source_of_the_zoo_gives_the_tracker_by_name(served, dataset, tmp_path, monkeypatch):
    weights = tmp_path / "spot-1.safetensors"
    small = TrackerConfig(
        template=32, search=64, widths=(8, 8, 8), blocks=(1, 1, 1), channels=8, layers=1, heads=2, hidden=8
    )
    Tracker(TrackerNetwork(small), "small").save(weights)
    monkeypatch.setattr("spam_plugin.models.spot.weights_file.DEFAULT_WEIGHTS", weights)
    foz.register_zoo_model_source(served)
    (name,) = [
        one["base_name"] for one in json.loads((Path(zoo.__file__).parent / "manifest.json").read_text())["models"]
    ]
    assert name in foz.list_zoo_models()
    model = foz.load_zoo_model(name, prompt_field="frames.keys", open_frames=5)
    assert (model.tracker.version, model.settings.open_frames) == ("small", 5)
    assert foz.is_zoo_model_downloaded(name)
    assert Path(sys.modules["spam_plugin"].__file__).parent == Path(zoo.__file__).parents[3]  # nothing took its name
    dataset.apply_model(model, label_field="tracks", skip_failures=False)
    assert {dataset.first().frames[1].tracks.detections[0].index} == {3}


def test_the_zoo_asks_for_the_prompts_in_the_app():
    asked = zoo.resolve_input("spam-plugin/spot", None)
    assert list(asked.type.properties) == ["prompt_field", "open_frames"]
