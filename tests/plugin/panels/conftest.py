"""The panel without a browser: called as the App's server calls it, with what it asks the browser to do."""

from __future__ import annotations

from types import SimpleNamespace

import pytest


@pytest.fixture
def panel():
    """A function that calls a method of the panel; the state is kept from one call to the next, as in a browser."""
    from fiftyone.operators.executor import ExecutionContext, Executor

    from spam_plugin.plugin.panels.spam import SpamPanel

    shown = SpamPanel()
    shown.plugin_name = "@spam-plugin/spam"
    state, data = {}, {}

    def call(method, dataset, sample=None, view=None, **params):
        executor = Executor()
        request = {
            "dataset_name": dataset.name if dataset is not None else None,
            "view": (view if view is not None else dataset.view())._serialize() if dataset is not None else None,
            "current_sample": sample,
            "params": {"panel_id": "panel", "panel_state": state, **params},
        }
        ctx = ExecutionContext(request, executor=executor, operator_uri=shown.uri)
        request["params"]["__method__"] = method
        shown.execute(ctx)
        drawn = shown.render(ctx)
        asked = [(one.operator_uri, one.params) for one in executor._requests]
        for uri, what in asked:
            if uri == "patch_panel_state":
                state.update(what["state"])
            if uri == "patch_panel_data":
                data.update(what["state"] if "state" in what else what["data"])
        return SimpleNamespace(drawn=drawn, asked=asked, said=list(texts(drawn.to_json())), data=data, state=state)

    return call


def texts(value):
    """Everything that can be read in a drawn panel."""
    if isinstance(value, dict):
        for key, inner in value.items():
            if key in ("label", "description", "default") and isinstance(inner, str):
                yield inner
            else:
                yield from texts(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from texts(inner)


@pytest.fixture
def labelled(crossing):
    """The small world of the commands, labelled by the default model."""
    from spam_plugin.integrations.fiftyone_ import api

    api.label(crossing, progress=False)
    return crossing


@pytest.fixture
def asked(labelled):
    """The same with open questions."""
    from spam_plugin.integrations.fiftyone_ import api

    api.queries(labelled, budget="40 clicks", progress=False)
    return labelled
