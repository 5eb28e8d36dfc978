"""FiftyOne executes the root ``__init__.py`` under a name of its own; the package must still exist only once."""

from __future__ import annotations

import importlib
import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

import spam_plugin
from spam_plugin.plugin.operators import OPERATORS

ROOT = Path(__file__).resolve().parent.parent

LOAD = """if True:
    import json, sys
    from pathlib import Path
    {before}
    from fiftyone.plugins.context import build_plugin_contexts

    for _ in range(2):  # FiftyOne loads the entry again for every request
        contexts = [c for c in build_plugin_contexts() if c.name == "@spam-plugin/spam"]
    import spam_plugin
    import spam_plugin.models.errors
    files = {{}}
    for name, module in list(sys.modules.items()):
        path = Path(getattr(module, "__file__", None) or "/").resolve()
        if path.is_relative_to({root!r}) and ".venv" not in path.parts:
            files.setdefault(str(path), []).append(name)
    print(json.dumps({{
        "errors": [c.errors for c in contexts],
        "files": files,
        "root": spam_plugin.__file__,
        "torch": "torch" in sys.modules,
    }}))
"""
NOT_INSTALLED = """
    import importlib.abc

    class Hidden(importlib.abc.MetaPathFinder):
        def find_spec(self, name, path=None, target=None):
            if name == "spam_plugin":
                raise ModuleNotFoundError("hidden for the test", name=name)

    sys.meta_path.insert(0, Hidden())
"""


@pytest.mark.parametrize("before", ["", NOT_INSTALLED], ids=["installed", "only linked"])
def test_fiftyone_loads_the_linked_folder_and_no_module_exists_twice(tmp_path, before):
    (tmp_path / "spam").symlink_to(ROOT, target_is_directory=True)
    done = subprocess.run(
        [sys.executable, "-c", LOAD.format(before=before, root=str(ROOT))],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={**os.environ, "FIFTYONE_PLUGINS_DIR": str(tmp_path)},
    )
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout.splitlines()[-1])
    assert told["errors"] == [[]], told
    entry = told["files"].pop(str(ROOT / "__init__.py"))
    assert sorted(entry) == ["fiftyone.plugins.orgs.spam_plugin.spam", "spam_plugin"], told
    assert told["files"], "no other module of the package was loaded"
    for path, names in told["files"].items():
        assert len(names) == 1, f"{path} exists as {names}"
        assert names[0].startswith("spam_plugin.")
    assert Path(told["root"]).resolve() == ROOT / "__init__.py"
    assert not told["torch"]
    assert "spam" not in done.stderr, done.stderr


def test_fiftyone_yml_lists_every_operator_and_panel_and_all_of_them_register():
    """FiftyOne registers in silence only what is in both places; a row that is missing in one is a dead button."""
    import yaml
    from fiftyone.operators.panel import Panel
    from fiftyone.plugins.context import PluginContext
    from fiftyone.plugins.definitions import PluginDefinition

    told = yaml.safe_load((ROOT / "fiftyone.yml").read_text())
    for kind in ("operators", "panels"):
        assert len(told[kind]) == len(set(told[kind])), kind
    classes = [
        getattr(importlib.import_module(f"spam_plugin.plugin.operators.{file}"), name) for file, name in OPERATORS
    ]
    assert [one.NAME for one in classes] == [file for file, _ in OPERATORS], "an operator is named as its file"
    files = {path.stem for path in (ROOT / "plugin" / "operators").glob("*.py")}
    assert {file for file, _ in OPERATORS} <= files
    context = PluginContext(PluginDefinition.from_disk(str(ROOT / "fiftyone.yml")))
    context.register_all()
    assert context.errors == []
    panels = {one.name for one in context.instances if isinstance(one, Panel)}
    assert panels == set(told["panels"])
    assert {one.name for one in context.instances} - panels == set(told["operators"]) == {one.NAME for one in classes}
    assert {one.uri for one in context.instances} == {
        f"@spam-plugin/spam/{name}" for name in (*told["operators"], *told["panels"])
    }
    for one in context.instances:
        icon = one.config.icon
        assert not icon or (ROOT / icon.lstrip("/")).is_file(), f"{one.name}: no icon {icon}"


@pytest.fixture
def entry():
    """The root file as FiftyOne has it: executed under a name that is not the package's."""
    spec = importlib.util.spec_from_file_location("synthetic_name", ROOT / "__init__.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_entry_hands_over_to_the_package_that_is_already_loaded(entry):
    assert entry._the_one_package() is spam_plugin
    registered = []
    entry.register(SimpleNamespace(register=registered.append))
    assert {one.__module__.partition(".")[0] for one in registered} == {"spam_plugin"}
    assert len(registered) == len(OPERATORS) + 1


def test_the_entry_imports_an_installed_package(entry, monkeypatch):
    monkeypatch.delitem(sys.modules, "spam_plugin")
    package = entry._the_one_package()
    assert package.__name__ == "spam_plugin"
    assert sys.modules["spam_plugin"] is package


def test_the_entry_makes_a_folder_that_is_not_installed_the_package(entry, monkeypatch):
    def import_module(name):
        raise ModuleNotFoundError(f"no module {name}", name=name)

    monkeypatch.delitem(sys.modules, "spam_plugin")
    monkeypatch.setattr(importlib, "import_module", import_module)
    package = entry._the_one_package()
    assert sys.modules["spam_plugin"] is package
    assert package.__path__ == [str(ROOT)]
    assert package.__version__ == spam_plugin.__version__


def test_a_package_whose_own_imports_fail_is_not_taken_for_a_missing_one(entry, monkeypatch):
    def import_module(name):
        raise ModuleNotFoundError("no module torch", name="torch")

    monkeypatch.delitem(sys.modules, "spam_plugin")
    monkeypatch.setattr(importlib, "import_module", import_module)
    with pytest.raises(ModuleNotFoundError, match="torch"):
        entry._the_one_package()


def test_label_and_evaluate_are_the_functions_of_the_python_api():
    from spam_plugin.integrations.fiftyone_ import api

    assert spam_plugin.label is api.label
    assert spam_plugin.evaluate is api.evaluate


EMBEDDED = """if True:
    import os
    import fiftyone as fo
    import fiftyone.core.odm as foo

    try:
        dataset = fo.Dataset("embedded")
        dataset.add_sample(fo.Sample(filepath="/nowhere/video.mp4"))
        print("found", fo.load_dataset("embedded").count(), fo.config.database_uri)
    finally:
        foo.get_db_client().drop_database(os.environ["FIFTYONE_DATABASE_NAME"])
"""


def test_the_tests_use_a_database_of_their_own():
    import fiftyone as fo

    assert fo.config.database_name == os.environ["FIFTYONE_DATABASE_NAME"]
    assert fo.config.database_uri == os.environ["FIFTYONE_DATABASE_URI"]
    dataset = fo.Dataset("spam-plugin-isolation")
    try:
        dataset.add_sample(fo.Sample(filepath="/nowhere/video.mp4"))
        assert fo.load_dataset("spam-plugin-isolation").count() == 1
    finally:
        dataset.delete()


def test_the_embedded_database_starts_on_this_system():
    env = {key: value for key, value in os.environ.items() if key != "FIFTYONE_DATABASE_URI"}
    # FiftyOne passes this on to its children; left in place, they would skip the start.
    env.pop("FIFTYONE_PRIVATE_DATABASE_PORT", None)
    env["FIFTYONE_DATABASE_NAME"] += "_embedded"
    done = subprocess.run([sys.executable, "-c", EMBEDDED], capture_output=True, text=True, env=env)
    assert done.returncode == 0, done.stderr
    assert "found 1 None" in done.stdout
