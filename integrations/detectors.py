"""Any detector by its name: ours, a file of ours, a checkpoint of ``transformers``, a model of FiftyOne."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..engine.ports import ObjectDetector
from ..models.detector.detector import Detections, Detector, DetectSettings, check_device, check_images
from ..models.detector.memory import in_batches
from ..models.detector.transformers_ import Preparation, TransformersDetector
from ..models.errors import InputError, MissingError
from .hub import checkpoint_folder, digest_of, load_checkpoint, read_json, refuse_pickled, weight_files

DEFAULT = "default"
#: Our scores are expected overlaps. Chosen on rendered films, where labels of candidates from 0.05 on have a HOTA of
#: 30, from 0.2 on 67, from 0.3 or 0.4 on 73.
OWN_LEAST_SCORE = 0.3
LEAST_SCORE = 0.05  # of other detectors

ZOO = "zoo:"  # in front of the name of a model of FiftyOne's zoo


def open_detector(
    name: str | Path | Any | None = None,
    device: str = "cpu",
    least_score: float | None = None,
    *,
    classes: Sequence[str] | None = None,
    batch: int = 8,
) -> ObjectDetector:
    """A detector that is ready to be used.

    Args:
        name: None or "default" for the small one of this package, a ``.safetensors`` of ours, a folder or hub id of
            ``transformers``, "zoo:NAME" of FiftyOne's zoo, a model object of FiftyOne, or what is a detector already.
        device: where it runs, as torch names it; models of FiftyOne choose themselves.
        least_score: boxes below are dropped; low, so that the hierarchy may choose. None for what suits the detector.
        classes: names of those to report; None for all.
        batch: images at a time; fewer if a GPU's memory does not hold them.

    Raises:
        MissingError: for a file, folder or name that is not there.
        InputError: for weights or settings that cannot be used, or a hub that cannot be reached.
    """
    ours = name is None or name == DEFAULT or (isinstance(name, (str, Path)) and Path(name).suffix == ".safetensors")
    least = least_score if least_score is not None else OWN_LEAST_SCORE if ours else LEAST_SCORE
    settings = DetectSettings(least_score=least, batch=batch)
    if classes is not None and not classes:
        raise InputError("detector: no class is left to report; name some, or leave the choice out for all")
    if name is not None and not isinstance(name, (str, Path)):
        if callable(getattr(name, "detect", None)):
            return name
        if callable(getattr(name, "predict", None)):
            return FiftyOneDetector(name, _title(name), settings, classes)
        raise InputError(f"detector: {type(name).__name__} is no detector: it has neither detect() nor predict()")
    if name is None or name == DEFAULT:
        return OwnDetector(Detector.load(None, device), settings, classes)
    if isinstance(name, str) and name.startswith(ZOO):
        return FiftyOneDetector(_from_zoo(name.removeprefix(ZOO)), name, settings, classes)
    file = Path(name).expanduser()
    refuse_pickled(file, "detector")
    if file.suffix == ".safetensors":
        own = Detector.load(file, device)
        return OwnDetector(own, settings, classes, f"{own.version}-{digest_of([file])}")
    check_device(device)
    return _of_transformers(name, device, settings, classes)


class OwnDetector:
    """A detector of this package with settings and a choice of classes; see ``ObjectDetector``.

    Args:
        detector: the network.
        settings: what to report.
        keep: names of the classes to report; None for all.
        version: name of the weights; the detector's own if None.

    Raises:
        InputError: for a class that it does not know.
    """

    def __init__(
        self,
        detector: Detector,
        settings: DetectSettings,
        keep: Sequence[str] | None = None,
        version: str | None = None,
    ) -> None:
        _check_known(keep, detector.classes)
        self.version = version or detector.version
        self.classes = detector.classes
        self._detector, self._settings = detector, settings
        self._wanted = np.array([keep is None or name in keep for name in detector.classes], bool)

    def detect(self, images: Sequence[NDArray[np.uint8]]) -> Detections:
        """Boxes of every image."""
        found = self._detector.detect(images, self._settings)
        return found if self._wanted.all() else _some(found, self._wanted[found.class_index])


class FiftyOneDetector:
    """A model of FiftyOne's interface, from the zoo or of a user's; see ``ObjectDetector``.

    Args:
        model: with ``predict(image)`` or ``predict_all(images)`` that give ``Detections``, or a dictionary with some.
        version: name of its weights.
        settings: what to report; a box below the least score is dropped.
        keep: names of the classes to report; None for all.

    Raises:
        InputError: for a model of whole videos, or a class that it does not know.
    """

    def __init__(self, model: Any, version: str, settings: DetectSettings, keep: Sequence[str] | None = None) -> None:
        if getattr(model, "media_type", "image") not in ("image", None):
            raise InputError(f"detector {version!r} takes media of type {model.media_type!r}; it must take images")
        known = getattr(model, "classes", None)
        if known:
            _check_known(keep, tuple(known))
        self.version = version
        self._model, self._settings, self._keep = model, settings, keep
        self._place: dict[str, int] = {str(name): place for place, name in enumerate(known or ())}
        config = getattr(model, "config", None)
        if config is not None and isinstance(getattr(config, "confidence_thresh", None), (int, float)):
            config.confidence_thresh = settings.least_score  # what the hierarchy may choose from

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes that are known so far, in the order of ``class_index``."""
        return tuple(self._place)

    def detect(self, images: Sequence[NDArray[np.uint8]]) -> Detections:
        """Boxes of every image.

        Raises:
            InputError: if the model gives something else.
        """
        check_images(images)
        columns: tuple[list, list, list, list] = ([], [], [], [])
        with self._model if hasattr(self._model, "__enter__") else _Nothing():
            for part, labels in in_batches(
                len(images), self._settings.batch, lambda part: self._predict(images[part]), "one image", "the GPU"
            ):
                for place, label in zip(range(part.start, part.stop), labels, strict=True):
                    for box in self._boxes(label):
                        self._add(columns, place, images[place].shape, box)
        frame, xyxy, score, class_index = columns
        return Detections(
            np.array(frame, np.int64), np.array(xyxy, np.float32).reshape(-1, 4), np.array(score, np.float32),
            np.array(class_index, np.int64),
        )  # fmt: skip

    def _predict(self, images: Sequence[NDArray[np.uint8]]) -> list[Any]:
        if callable(getattr(self._model, "predict_all", None)):
            return list(self._model.predict_all(list(images)))
        return [self._model.predict(image) for image in images]

    def _boxes(self, label: Any) -> list[Any]:
        """Boxes of one image, best first."""
        given = label.values() if isinstance(label, dict) else [label]
        found = next((one for one in given if isinstance(getattr(one, "detections", None), list)), None)
        if found is None and any(one is not None for one in given):
            raise InputError(
                f"detector {self.version!r} gives {type(next(iter(given))).__name__}, not Detections; choose a model "
                f"that finds boxes"
            )
        boxes = [] if found is None else found.detections
        return sorted(boxes, key=lambda box: -(box.confidence if box.confidence is not None else 1.0))

    def _add(self, columns: tuple[list, list, list, list], place: int, shape: tuple[int, ...], box: Any) -> None:
        score = 1.0 if box.confidence is None else float(box.confidence)
        if score < self._settings.least_score or (self._keep is not None and box.label not in self._keep):
            return
        x, y, wide, tall = (float(number) for number in box.bounding_box)
        height, width = shape[:2]
        columns[0].append(place)
        columns[1].append([x * width, y * height, (x + wide) * width, (y + tall) * height])
        columns[2].append(score)
        columns[3].append(self._place.setdefault(str(box.label), len(self._place)))


class _Nothing:
    """What models that need no set-up are used within."""

    def __enter__(self) -> None: ...

    def __exit__(self, *error: object) -> None: ...


def _of_transformers(
    name: str | Path, device: str, settings: DetectSettings, classes: Sequence[str] | None
) -> TransformersDetector:
    folder = checkpoint_folder(name, "detector")
    model = load_checkpoint("AutoModelForObjectDetection", folder, "detector")
    said = read_json(folder / "preprocessor_config.json", "detector")
    if not said:
        raise InputError(f"detector {folder}: there is no preprocessor_config.json beside the weights; add it")
    kind = str(getattr(model.config, "model_type", "model"))
    title = str(name) if folder != Path(name).expanduser() else folder.resolve().name
    version = f"{kind}:{title}-{digest_of(weight_files(folder, 'detector'))}"
    # Doubles that a model's own matching leaves are few, so its boxes are suppressed at a greater overlap than ours.
    return TransformersDetector(model, Preparation.read(said), version, device, replace(settings, overlap=0.7), classes)


def _from_zoo(name: str) -> Any:
    """A model of FiftyOne's zoo."""
    import fiftyone.zoo as foz

    known = foz.list_zoo_models()
    if name not in known:
        alike = [one for one in known if name.split("-")[0].lower() in one.lower()][:6]
        raise MissingError(f"FiftyOne's zoo has no model {name!r}; similar: {', '.join(alike) or 'none'}")
    try:
        return foz.load_zoo_model(name)
    except Exception as error:  # a model may need any package, any file and the network
        why = " ".join(str(error).split())[:200] or type(error).__name__
        raise InputError(
            f"FiftyOne's model {name!r} cannot be loaded ({why}); install what it needs, or choose another detector"
        ) from error


def _title(model: Any) -> str:
    """A name for a model object."""
    name = getattr(model, "name", None) or getattr(getattr(model, "config", None), "model_id", None)
    return f"{type(model).__module__}.{type(model).__qualname__}" + (f":{name}" if isinstance(name, str) else "")


def _check_known(keep: Sequence[str] | None, classes: tuple[str, ...]) -> None:
    for name in keep or ():
        if name not in classes:
            some = ", ".join(classes[:20]) + (", ..." if len(classes) > 20 else "")
            raise InputError(f"the detector knows no class {name!r}; it knows: {some}")


def _some(found: Detections, rows: NDArray[np.bool_]) -> Detections:
    return Detections(found.frame[rows], found.xyxy[rows], found.score[rows], found.class_index[rows])
