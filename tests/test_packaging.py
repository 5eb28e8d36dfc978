from __future__ import annotations

import configparser
import os
import subprocess
import sys
from pathlib import Path

import spam_plugin

ROOT = Path(__file__).resolve().parent.parent
ROOMS = ("engine", "integrations", "models", "plugin")


def setup_cfg() -> configparser.ConfigParser:
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    return config


def run_python(code: str, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env={**os.environ, **env})


def test_every_folder_with_code_is_a_listed_package_and_no_other_is_listed():
    listed = setup_cfg()["options"]["packages"].split()
    folders = {path.parent.relative_to(ROOT) for room in ROOMS for path in (ROOT / room).rglob("*.py")}
    expected = {"spam_plugin"} | {".".join(("spam_plugin", *folder.parts)) for folder in folders}
    assert sorted(listed) == sorted(expected)


def test_every_listed_package_has_an_init_file():
    for name in setup_cfg()["options"]["packages"].split():
        assert ROOT.joinpath(*name.split(".")[1:], "__init__.py").is_file(), name


def test_every_weights_folder_is_package_data():
    data = setup_cfg()["options.package_data"]
    for folder in (ROOT / "models").rglob("weights"):
        assert ".".join(("spam_plugin", *folder.parent.relative_to(ROOT).parts)) in data, folder


def test_the_version_is_told_once():
    assert setup_cfg()["metadata"]["version"] == "attr: spam_plugin.__version__"
    assert f'version: "{spam_plugin.__version__}"' in (ROOT / "fiftyone.yml").read_text()


def test_importing_the_package_imports_neither_torch_nor_fiftyone():
    done = run_python(
        "import spam_plugin, sys; print(sorted({'torch', 'fiftyone', 'numpy', 'click'} & set(sys.modules)))"
    )
    assert done.stdout.strip() == "[]", done.stderr


def test_the_models_import_without_fiftyone_cvat_or_click():
    code = """if True:
        import importlib, pkgutil, sys
        for name in ("fiftyone", "cvat_sdk", "click"):
            sys.modules[name] = None
        import spam_plugin.models as models
        for module in pkgutil.walk_packages(models.__path__, models.__name__ + "."):
            importlib.import_module(module.name)
    """
    done = run_python(code)
    assert done.returncode == 0, done.stderr


def test_an_unknown_attribute_of_the_package_is_an_attribute_error():
    assert not hasattr(spam_plugin, "lable")
    assert {"label", "evaluate"} <= set(dir(spam_plugin))
