"""Operators at three levels: their forms, executed as the App and scripts do, and as jobs of a worker.

FiftyOne is imported where it is used: pytest may load this file before the test database is set up.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[3]
PLUGIN = "@spam-plugin/spam"


@dataclass
class Shown:
    """A form or an outcome as the App gets it: JSON.

    Attributes:
        names: of what is in it, in order.
        said: name -> what stands there: label, description and error.
        defaults: name -> value that is filled in.
        invalid: name -> error, of what keeps it from being sent.
        choices: name -> values to choose from.
    """

    names: list[str] = field(default_factory=list)
    said: dict[str, str] = field(default_factory=dict)
    defaults: dict[str, Any] = field(default_factory=dict)
    invalid: dict[str, str] = field(default_factory=dict)
    choices: dict[str, list[Any]] = field(default_factory=dict)

    @classmethod
    def of(cls, schema: dict[str, Any]) -> Shown:
        """That of a property's JSON."""
        out = cls()
        for name, one in json.loads(json.dumps(schema))["type"]["properties"].items():
            view = one["view"] or {}
            out.names.append(name)
            out.said[name] = " ".join(filter(None, (view.get("label"), view.get("description"))))
            out.defaults[name] = one["default"]
            out.choices[name] = [choice["value"] for choice in view.get("choices") or ()]
            if one["invalid"]:
                out.invalid[name] = one["error_message"]
        return out

    @property
    def text(self) -> str:
        """All that stands there."""
        return " | ".join(self.said.values())


@dataclass
class Lived:
    """What the App was told while an operator ran.

    Attributes:
        progress: (share, what) of the bar.
        effects: (operator, its parameters) of everything else, in order, but for the last.
        shown: what is shown in the end.
        result: the values that come with it.
    """

    progress: list[tuple[float, str]]
    effects: list[tuple[str, dict[str, Any]]]
    shown: Shown
    result: dict[str, Any]


@pytest.fixture(scope="module")
def plugins(tmp_path_factory):
    """The project as a plugin of FiftyOne in this process."""
    import fiftyone as fo

    folder = tmp_path_factory.mktemp("plugins")
    (folder / "spam").symlink_to(ROOT, target_is_directory=True)
    before, fo.config.plugins_dir = fo.config.plugins_dir, str(folder)
    yield folder
    fo.config.plugins_dir = before


@pytest.fixture
def quick(model, monkeypatch):
    """The real weights, loaded once for all tests."""
    from spam_plugin.models.spam import SpamModel

    monkeypatch.setattr(SpamModel, "load", classmethod(lambda cls, *args, **named: model))
    return model


@pytest.fixture(scope="session")
def film(tmp_path_factory):
    """A video file of the size and length of ``crossing``."""
    import cv2
    import numpy as np

    path = tmp_path_factory.mktemp("film") / "crossing.mp4"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"mp4v"), 10.0, (640, 480))
    for _ in range(40):
        writer.write(np.zeros((480, 640, 3), np.uint8))
    writer.release()
    return path


@pytest.fixture
def asked(crossing, film, model, quick):
    """``crossing`` with tracks, a file, and a few open questions."""
    return _ask(crossing, film, model)


@pytest.fixture(scope="module")
def asked_once(untouched, film, model):
    """The same, for all tests of a file that leave it as it is."""
    return _ask(untouched, film, model)


def _ask(dataset, film, model):
    from spam_plugin.integrations.fiftyone_ import api

    sample = dataset.first()
    sample.filepath = str(film)
    sample.save()
    api.label(dataset, model=model, progress=False)
    api.queries(dataset, budget="9 clicks", model=model, progress=False)
    dataset.reload()
    return dataset


@pytest.fixture
def ops(plugins):
    """The operators of the plugin, as ``Ops``."""
    from fiftyone.operators.delegated import DelegatedOperationService

    made = Ops()
    yield made
    for job in made.jobs:
        DelegatedOperationService().delete_operation(job)


class Ops:
    """Asks and runs the operators; every method takes an operator's name, a dataset or None, and what is filled in.

    ``request`` holds what else the App would send, such as ``view_target`` or ``selected``.
    """

    def __init__(self) -> None:
        self.jobs: list[Any] = []

    def get(self, name: str) -> Any:
        """The operator, as FiftyOne has it."""
        import fiftyone.operators as foo

        return foo.get_operator(f"{PLUGIN}/{name}")

    def ctx(
        self, name: str, dataset: Any, params: dict[str, Any] | None = None, view: Any = None, **request: Any
    ) -> Any:
        """The context of a request by the App."""
        from fiftyone.operators.executor import ExecutionContext, Executor

        asked: dict[str, Any] = {"params": dict(params or {}), "selected_samples": [], "active_fields": [], **request}
        if dataset is not None:
            asked["dataset_name"] = dataset if isinstance(dataset, str) else dataset.name
            asked["view"] = view if isinstance(view, list) else [] if view is None else view._serialize()
        uri = f"{PLUGIN}/{name}"
        secrets = self.get(name)._plugin_secrets
        return ExecutionContext(asked, executor=Executor(), operator_uri=uri, required_secrets=secrets)

    def form(self, name: str, dataset: Any, /, view: Any = None, request: Any = None, **params: Any) -> Shown:
        """The form."""
        ctx = self.ctx(name, dataset, params, view, target="inputs", **(request or {}))
        return Shown.of(self.get(name).resolve_type(ctx, "inputs").to_json())

    def live(self, name: str, dataset: Any, /, view: Any = None, request: Any = None, **params: Any) -> Lived:
        """Runs it as the App does; steps through all that the App is told."""
        operator, ctx = self.get(name), self.ctx(name, dataset, params, view, **(request or {}))
        assert operator.resolve_input(ctx) is None  # nothing that FiftyOne could refuse with a traceback
        lines = [json.loads(message.to_json_line()) for message in operator.execute(ctx)]
        told = [(line["body"]["operator_uri"], line["body"]["params"]) for line in lines]
        progress = [(params["progress"], params["label"]) for uri, params in told if uri == "set_progress"]
        last, shown = told[-1]
        assert last == "show_output", told
        effects = [(uri, params) for uri, params in told[:-1] if uri != "set_progress"]
        return Lived(progress, effects, Shown.of(shown["outputs"]), shown["results"])

    def script(self, name: str, dataset: Any, /, view: Any = None, **params: Any) -> Any:
        """Runs it as a script does, and gives its result."""
        import fiftyone.operators as foo

        ctx: dict[str, Any] = {} if dataset is None else {"dataset": dataset}
        return foo.execute_operator(
            f"{PLUGIN}/{name}", ctx if view is None else {**ctx, "view": view}, params=params
        ).result

    def queue(self, name: str, dataset: Any, /, request: Any = None, **params: Any) -> Any:
        """Schedules it as the App does; gives the job's id."""
        import fiftyone.operators as foo

        asked = {"dataset": dataset, "selected_samples": [], **(request or {})}
        queued = foo.execute_operator(f"{PLUGIN}/{name}", asked, params=params, request_delegation=True)
        self.jobs.append(queued.result["id"])
        return queued.result["id"]

    def work(self, job: Any) -> Any:
        """Has a worker run the job, here; gives the job's document."""
        from fiftyone.operators.delegated import DelegatedOperationService

        service = DelegatedOperationService()
        service.execute_operation(service.get(job))
        return service.get(job)

    def job(self, name: str, dataset: Any, /, request: Any = None, **params: Any) -> Any:
        """Both."""
        return self.work(self.queue(name, dataset, request, **params))

    def has_button(self, name: str, dataset: Any, view: Any = None, **request: Any) -> bool:
        """Whether its button is in the toolbar."""
        return self.get(name).resolve_placement(self.ctx(name, dataset, {}, view, **request)) is not None
