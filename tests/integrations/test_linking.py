"""The plugin's folder among FiftyOne's plugins: small, current, and never somebody else's."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import fiftyone as fo
import pytest

from spam_plugin.integrations.fiftyone_ import linking, settings
from spam_plugin.models.errors import InputError

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def plugins(tmp_path, monkeypatch):
    """A folder of plugins of the test's own."""
    folder = tmp_path / "plugins"
    monkeypatch.setattr(fo.config, "plugins_dir", str(folder))
    return folder


def files_below(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def uris() -> set[str]:
    """What FiftyOne registers of ours, as it does at every request."""
    from fiftyone.operators.registry import OperatorRegistry

    registry = OperatorRegistry()
    assert registry.list_errors() == []
    return {one.uri for one in registry.list_operators() if one.plugin_name == linking.NAME}


def state_of(folder: Path) -> dict[str, int]:
    return {str(path): path.lstat().st_mtime_ns for path in [folder, *folder.rglob("*")]}


def test_the_folder_holds_what_the_app_needs_and_nothing_else(plugins):
    linked = linking.link()
    assert linked.path == plugins / "spam-plugin"
    assert linked.ours
    assert linked.current
    assert linked.enabled
    assert linked.exposed == {}
    assets = {f"assets/{path.name}" for path in (ROOT / "assets").glob("*") if path.suffix in (".svg", ".js")}
    assert files_below(linked.path) == {"fiftyone.yml", "__init__.py"} | assets
    assert [path.name for path in plugins.iterdir()] == ["spam-plugin"]


def test_fiftyone_registers_the_same_from_the_small_folder_as_from_the_checkout(plugins):
    linking.link()
    small = uris()
    assert "@spam-plugin/spam/spam_panel" in small
    for path in sorted((plugins / "spam-plugin").rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() and not path.is_symlink() else path.unlink()
    (plugins / "spam-plugin").rmdir()
    (plugins / "checkout").symlink_to(ROOT, target_is_directory=True)
    assert uris() == small


def test_a_folder_that_is_current_is_not_touched(plugins):
    linking.link()
    uris()
    before = state_of(plugins)
    linking.link()
    uris()  # leaves no bytecode either, which would throw away FiftyOne's cache of plugins
    assert state_of(plugins) == before


def test_files_of_another_version_are_brought_up_to_date(plugins):
    folder = linking.link().path
    wanted = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    (folder / "fiftyone.yml").write_text(f'name: "{linking.NAME}"\nversion: "0.0.1"\n')
    (folder / "assets" / "gone.svg").write_text("<svg/>")
    next((folder / "assets").glob("*.svg")).unlink()
    assert not linking.find().current
    assert linking.link().current
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == wanted


def test_a_folder_of_somebody_else_is_left_alone(plugins):
    folder = plugins / "spam-plugin"
    folder.mkdir(parents=True)
    (folder / "notes.txt").write_text("mine")
    with pytest.raises(InputError, match=r"spam-plugin is there and was not made by spam-plugin; move it away"):
        linking.link()
    assert files_below(folder) == {"notes.txt"}


def test_a_link_to_nowhere_of_that_name_is_left_alone(plugins):
    plugins.mkdir()
    (plugins / "spam-plugin").symlink_to(plugins / "nowhere")
    with pytest.raises(InputError, match="move it away"):
        linking.link()
    assert os.readlink(plugins / "spam-plugin") == str(plugins / "nowhere")


def test_a_folder_of_plugins_that_cannot_be_made_is_named(plugins):
    plugins.write_text("a file")
    with pytest.raises(InputError, match=r"plugins/spam-plugin cannot be written: .*FIFTYONE_PLUGINS_DIR"):
        linking.link()


@pytest.mark.parametrize("name", ["spam-plugin", "my-checkout"])
def test_a_linked_checkout_is_used_and_what_it_exposes_is_named(plugins, tmp_path, name):
    checkout = tmp_path / "checkout"
    (checkout / ".git").mkdir(parents=True)
    (checkout / ".env").write_text("CVAT_PASSWORD=geheim\n")
    (checkout / "assets").mkdir()
    for file in ("__init__.py", "fiftyone.yml", "setup.cfg"):
        (checkout / file).write_bytes((ROOT / file).read_bytes())
    plugins.mkdir()
    (plugins / name).symlink_to(checkout, target_is_directory=True)
    linked = linking.link()
    assert linked.path == plugins / name
    assert not linked.ours
    assert linked.exposed == {plugins / name: (".env", ".git", "setup.cfg")}
    assert [path.name for path in plugins.iterdir()] == [name]


def test_a_second_folder_of_the_plugin_that_is_served_without_being_loaded_is_named_too(plugins, tmp_path):
    first = linking.link().path
    other = plugins / "z" / "other"
    other.mkdir(parents=True)
    (other / "fiftyone.yml").write_bytes((ROOT / "fiftyone.yml").read_bytes())
    (other / ".env").write_text("x")
    found = linking.find()
    assert {found.path, *found.others} == {first, other}
    assert found.exposed == {other: (".env",)}


def test_a_plugin_that_is_disabled_says_so(plugins, monkeypatch, tmp_path):
    monkeypatch.setenv("FIFTYONE_APP_CONFIG_PATH", str(tmp_path / "app.json"))
    (tmp_path / "app.json").write_text(json.dumps({"plugins": {linking.NAME: {"enabled": False}}}))
    assert not linking.link().enabled


LINK = """if True:
    import sys
    from spam_plugin.integrations.fiftyone_ import linking
    for _ in range(int(sys.argv[1])):
        linking.link()
"""


def test_processes_that_link_at_once_do_not_disturb_each_other_nor_a_server(plugins):
    """A server looks on all the time, while others make the folder and bring it up to date."""
    env = {**os.environ, "FIFTYONE_PLUGINS_DIR": str(plugins)}
    others = [
        subprocess.Popen([sys.executable, "-c", LINK, "30"], env=env, stderr=subprocess.PIPE, text=True)
        for _ in range(3)
    ]
    spoilt = threading.Event()
    folder = plugins / "spam-plugin"

    def spoil() -> None:
        while not spoilt.is_set():
            if folder.exists():
                (folder / "assets" / "spam.svg").write_text("old")

    spoiler = threading.Thread(target=spoil)
    spoiler.start()
    seen = missed = 0
    try:
        while any(other.poll() is None for other in others):
            found = linking.find()
            seen += found is not None
            missed += found is None and seen > 0
    finally:
        spoilt.set()
        spoiler.join()
    assert [other.wait() for other in others] == [0, 0, 0], [other.stderr.read() for other in others]
    assert seen
    assert not missed
    assert linking.link().current
    assert [path.name for path in plugins.iterdir()] == ["spam-plugin"]


def test_a_server_whose_python_lacks_the_package_says_what_to_do(plugins):
    entry = linking.link().path / "__init__.py"
    code = f"""if True:
        import runpy, sys
        sys.modules["spam_plugin"] = None
        from importlib.abc import MetaPathFinder
        class Hidden(MetaPathFinder):
            def find_spec(self, name, path=None, target=None):
                if name == "spam_plugin":
                    raise ModuleNotFoundError("hidden", name=name)
        del sys.modules["spam_plugin"]
        sys.meta_path.insert(0, Hidden())
        runpy.run_path({str(entry)!r})["register"](None)
    """
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert f"ImportError: the package spam_plugin is not installed for {sys.executable}" in done.stderr
    assert "During handling" not in done.stderr


def test_what_the_user_has_set_stays(monkeypatch, tmp_path):
    monkeypatch.setenv("FIFTYONE_CONFIG_PATH", str(tmp_path / "config.json"))
    (tmp_path / "config.json").write_text('{"plugins_cache_enabled": false}')
    monkeypatch.setenv("FIFTYONE_DATABASE_VALIDATION", "true")
    monkeypatch.delenv("FIFTYONE_ALLOW_LEGACY_ORCHESTRATORS", raising=False)
    into: dict[str, str] = {}
    settings.set_up(into)
    assert into == {"FIFTYONE_ALLOW_LEGACY_ORCHESTRATORS": "true"}
    for broken in ("{", "[]"):
        (tmp_path / "config.json").write_text(broken)
        assert settings.configured("plugins_cache_enabled") is None
