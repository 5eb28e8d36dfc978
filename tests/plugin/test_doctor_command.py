"""``spam-plugin doctor``: every check finds what is wrong, says how to mend it, and raises nothing."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections import namedtuple
from datetime import datetime, timezone
from pathlib import Path
from types import SimpleNamespace

import fiftyone as fo
import pytest

from spam_plugin.integrations import machine
from spam_plugin.integrations.checking import BROKEN, OK, WARNING, Finding, check, clean
from spam_plugin.integrations.cvat.doctor import check_cvat
from spam_plugin.integrations.fiftyone_ import doctor, jobs, linking

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def plugins(tmp_path, monkeypatch):
    """A folder of plugins of the test's own."""
    folder = tmp_path / "plugins"
    monkeypatch.setattr(fo.config, "plugins_dir", str(folder))
    return folder


def encode(path: Path, codec: str) -> Path:
    source = ("-f", "lavfi", "-i", "color=s=64x48:d=0.2:r=10")
    subprocess.run(["ffmpeg", "-loglevel", "error", "-y", *source, "-c:v", codec, str(path)], check=True)
    return path


@pytest.fixture
def dataset(tmp_path):
    dataset = fo.Dataset("doctor-videos", overwrite=True)
    dataset.add_sample(fo.Sample(str(encode(tmp_path / "good.mp4", "libx264"))))
    yield dataset
    dataset.delete()


def test_every_check_of_a_healthy_installation_has_its_line(spam, nobody, plugins, dataset):
    linking.link()
    code, out, err = spam("doctor", "doctor-videos")
    lines = [line.split() for line in out.splitlines()]
    named = [" ".join(words[1:3]) if words[1] == "served" else words[1] for words in lines]
    assert named == [
        "Python", "packages", "model", "GPU", "ffmpeg", "database", "settings", "plugin", "served files", "jobs",
        "videos", "CVAT", "disk",
    ]  # fmt: skip
    assert {words[0] for words in lines} <= {"ok", "warning"}, out
    assert code == 0
    assert err == ""


def test_as_json_it_says_the_same_and_exits_with_2_if_something_is_broken(spam, nobody, plugins):
    code, out, _ = spam("doctor", "no-such-dataset", "--json")
    told = json.loads(out)
    assert (code, told["ok"]) == (2, False)
    found = {one["check"]: one for one in told["checks"]}
    assert "there is no dataset 'no-such-dataset'" in found["videos"]["said"]
    assert found["plugin"]["state"] == "warning"  # not linked yet, which does not count
    assert found["plugin"]["mend"] == "spam-plugin app puts it there"
    assert not plugins.exists(), "it changes nothing"


def test_a_check_never_raises_and_tells_no_secret(monkeypatch):
    monkeypatch.setenv("CVAT_PASSWORD", "geheim")

    @check("thing")
    def failing() -> Finding:
        raise RuntimeError("no 'geheim' at\nhttp://me:other@host/path")

    found = failing()
    assert (found.state, found.check) == (BROKEN, "thing")
    assert found.said == "could not be checked: RuntimeError: no '***' at http://host/path"
    assert clean("mongodb://u:p@h:1/?a=b") == "mongodb://h:1/?a=b"


def test_what_is_wrong_has_a_way_to_mend_it():
    with pytest.raises(ValueError, match="has a way to mend it"):
        Finding(BROKEN, "bad")
    with pytest.raises(ValueError, match="no such state"):
        Finding("fine", "good")


# --- the machine


def test_packages_that_are_missing_or_too_old_are_named_with_the_command(monkeypatch):
    required = ["torch>=99", "no-such-package>=1", "numpy", 'pytest>=99; extra == "test"']
    monkeypatch.setattr(machine.metadata, "requires", lambda name: required)
    found = machine.check_packages()
    assert found.state == BROKEN
    assert "torch" in found.said
    assert "no-such-package missing (needs >=1)" in found.said
    assert found.mend == f"{sys.executable} -m pip install 'torch>=99' 'no-such-package>=1'"


def test_an_old_python_is_told(monkeypatch):
    assert machine.check_python().state == OK
    monkeypatch.setattr(machine.sys, "version_info", namedtuple("Info", "major minor")(3, 8))
    assert machine.check_python().mend.startswith("spam-plugin needs Python 3.10 or newer")


def test_missing_weights_are_told(monkeypatch, tmp_path):
    from spam_plugin.models.spam import SpamModel

    load = SpamModel.load
    monkeypatch.setattr(SpamModel, "load", lambda: load(tmp_path / "spam.safetensors"))
    assert machine.check_model().said.startswith(f"weights {tmp_path}")


def test_a_machine_without_ffmpeg_is_told_what_to_install(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    found = machine.check_ffmpeg()
    assert (found.state, "ffmpeg and ffprobe not found" in found.said) == (BROKEN, True)
    for name in ("ffmpeg", "ffprobe"):
        (tmp_path / name).write_text("#!/bin/sh\necho ffmpeg version 9\n")
        (tmp_path / name).chmod(0o755)
    found = machine.check_ffmpeg()
    assert (found.state, "ffmpeg 9 cannot write H.264" in found.said) == (WARNING, True)


def test_a_gpu_that_torch_does_not_see_is_told(monkeypatch, tmp_path):
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    (tmp_path / "nvidia-smi").write_text("#!/bin/sh\necho GPU 0\n")
    (tmp_path / "nvidia-smi").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    found = machine.check_gpu()
    assert (found.state, "does not see it" in found.said) == (WARNING, True)
    (tmp_path / "nvidia-smi").write_text("#!/bin/sh\nexit 9\n")
    assert machine.check_gpu().state == OK


@pytest.mark.parametrize(("free", "state"), [(100 << 30, OK), (2 << 30, WARNING), (1 << 20, BROKEN)])
def test_a_disk_that_is_full_is_named(monkeypatch, tmp_path, free, state):
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=free))
    found = machine.check_disk([tmp_path / "not" / "there"])
    assert found.state == state
    assert str(tmp_path) in found.said


# --- FiftyOne


def test_a_database_that_does_not_answer_is_told_and_the_rest_goes_on():
    """In a process of its own, since FiftyOne connects as it is imported; its address holds a password."""
    env = {**os.environ, "FIFTYONE_DATABASE_URI": "mongodb://me:geheim@127.0.0.1:1/?appName=hidden"}
    command = [sys.executable, "-c", "from spam_plugin.plugin.cli import main; main()", "doctor", "street"]
    done = subprocess.run(command, capture_output=True, text=True, env=env)
    assert done.returncode == 2, done.stderr
    (database,) = [line for line in done.stdout.splitlines() if line.split()[1] == "database"]
    assert database.startswith("broken")
    assert "MongoDB at 127.0.0.1:1 does not answer" in database
    assert "to mend it: start it, or mend or unset FIFTYONE_DATABASE_URI" in done.stdout
    assert "plugin " not in done.stdout.partition("packages")[0]
    assert "disk" in done.stdout
    assert "geheim" not in done.stdout + done.stderr
    assert "Traceback" not in done.stderr


def test_the_database_is_named_with_its_version():
    found = doctor.check_database()
    assert found.state == OK
    assert found.said.startswith("MongoDB 6.")
    assert os.environ["FIFTYONE_DATABASE_URI"].removeprefix("mongodb://").rstrip("/") in found.said


def test_a_database_that_is_too_old_is_told(monkeypatch):
    import fiftyone.constants
    from packaging.version import Version

    monkeypatch.setattr(fiftyone.constants, "MONGODB_MIN_VERSION", Version("99.0"))
    assert doctor.check_database().mend == "FiftyOne needs MongoDB 99.0: update the server"


def test_a_plugin_that_registers_all_is_ok(plugins):
    folder = linking.link().path
    found = doctor.check_plugin()
    assert (found.state, str(folder) in found.said) == (OK, True)


def test_operators_that_are_not_registered_are_named(plugins):
    folder = linking.link().path
    text = (folder / "fiftyone.yml").read_text()
    (folder / "fiftyone.yml").write_text(text.replace("  - label_tracks\n", "").replace("- spam_panel", "- other"))
    found = doctor.check_plugin()
    assert found.state == BROKEN
    assert f"{folder} is of another version, does not register label_tracks, spam_panel" in found.said
    assert found.mend == "spam-plugin app brings it up to date"


def test_a_folder_of_another_version_that_registers_all_is_a_warning(plugins):
    (linking.link().path / "assets" / "old.svg").write_text("<svg/>")
    found = doctor.check_plugin()
    assert (found.state, "of another version" in found.said) == (WARNING, True)


def test_the_error_of_an_entry_that_fails_is_told(plugins):
    folder = plugins / "copy"
    folder.mkdir(parents=True)
    (folder / "fiftyone.yml").write_bytes((ROOT / "fiftyone.yml").read_bytes())
    (folder / "__init__.py").write_text("raise ValueError('nothing works')\n")
    found = doctor.check_plugin()
    assert found.state == BROKEN
    assert found.said == f"{folder}: ValueError: nothing works"
    assert found.mend == f"take {folder} away, then spam-plugin app puts ours there"


def test_a_disabled_plugin_is_told_with_the_command(plugins, monkeypatch, tmp_path):
    linking.link()
    monkeypatch.setenv("FIFTYONE_APP_CONFIG_PATH", str(tmp_path / "app.json"))
    (tmp_path / "app.json").write_text(json.dumps({"plugins": {linking.NAME: {"enabled": False}}}))
    assert doctor.check_plugin().mend == 'fiftyone plugins enable "@spam-plugin/spam"'


def test_a_checkout_among_the_plugins_and_secrets_of_others_are_told(plugins):
    assert doctor.check_served().state == OK
    (plugins / "other").mkdir(parents=True)
    (plugins / "other" / ".env").write_text("x")
    found = doctor.check_served()
    assert (found.state, f"can read {plugins / 'other'}: .env" in found.said) == (WARNING, True)
    (plugins / "mine").symlink_to(ROOT, target_is_directory=True)
    found = doctor.check_served()
    assert f"{plugins / 'mine'}: " in found.said
    assert "puts a small folder there instead" in found.mend


def test_settings_that_make_buttons_dead_are_told(monkeypatch):
    monkeypatch.setenv("FIFTYONE_ALLOW_LEGACY_ORCHESTRATORS", "false")
    monkeypatch.setenv("FIFTYONE_PLUGINS_CACHE_ENABLED", "true")
    found = doctor.check_settings()
    assert found.said == 'the App\'s button "Schedule" is dead'
    assert "FIFTYONE_ALLOW_LEGACY_ORCHESTRATORS" in found.mend
    monkeypatch.delenv("FIFTYONE_ALLOW_LEGACY_ORCHESTRATORS")
    assert doctor.check_settings().state == OK


def test_jobs_that_wait_for_nobody_or_have_lost_their_worker_are_told(monkeypatch):
    now = datetime.now(timezone.utc)
    job = jobs.Job("7", "@spam-plugin/spam/x", "Label", None, "queued", None, "", now, None, None, None, None, None)
    monkeypatch.setattr(jobs, "workers", list)
    monkeypatch.setattr(jobs, "find_lost", list)
    monkeypatch.setattr(jobs, "list_jobs", lambda limit: [])
    assert doctor.check_jobs().state == OK
    monkeypatch.setattr(jobs, "list_jobs", lambda limit: [job])
    assert doctor.check_jobs().mend.startswith("start spam-plugin worker")
    monkeypatch.setattr(jobs, "workers", lambda: [object()])
    assert doctor.check_jobs().said == "workers that are alive: 1; jobs that wait: 1"
    monkeypatch.setattr(jobs, "find_lost", lambda: [job])
    assert "whose worker is gone: Label (7)" in doctor.check_jobs().said


def test_videos_that_browsers_do_not_play_are_named_with_a_command_that_mends_them(dataset, tmp_path):
    assert "H.264" in doctor.check_videos("doctor-videos").said
    bad = encode(tmp_path / "it's bad.mp4", "mpeg4")
    dataset.add_sample(fo.Sample(str(bad)))
    (tmp_path / "junk.mp4").write_bytes(b"no video")
    found = doctor.check_videos("doctor-videos")
    assert (found.state, f"{bad} (MPEG-4 part 2)" in found.said) == (WARNING, True)
    command, _, _ = found.mend.partition(", then ")
    subprocess.run(command, shell=True, check=True, capture_output=True)
    dataset.match(fo.ViewField("filepath") == str(bad)).set_values("filepath", [str(tmp_path / "it's bad.h264.mp4")])
    assert doctor.check_videos("doctor-videos").state == OK
    dataset.add_sample(fo.Sample(str(tmp_path / "junk.mp4")))
    assert "junk.mp4 (unreadable)" in doctor.check_videos("doctor-videos").said


def test_files_that_are_not_there_are_named(dataset):
    dataset.add_sample(fo.Sample("/nowhere/gone.mp4"))
    found = doctor.check_videos("doctor-videos")
    assert found.state == BROKEN
    assert found.said == "1 of 2 files are not there, e.g. /nowhere/gone.mp4"


def test_a_dataset_of_images_has_no_codecs(tmp_path):
    dataset = fo.Dataset("doctor-images", overwrite=True)
    try:
        (tmp_path / "a.jpg").write_bytes(b"x")
        dataset.add_sample(fo.Sample(str(tmp_path / "a.jpg")))
        assert doctor.check_videos("doctor-images").said == "dataset 'doctor-images': 1 files of type image, no videos"
    finally:
        dataset.delete()


# --- CVAT


def test_without_a_server_nothing_is_looked_at(nobody):
    assert check_cvat().said == "not used: CVAT_URL is not set"
    nobody.setenv("CVAT_TOKEN", "geheim")
    assert (check_cvat().state, check_cvat().said) == (WARNING, "CVAT_TOKEN is set, but no CVAT_URL")


def test_a_server_that_knows_us_is_named_with_its_version(server):
    found = check_cvat()
    assert found.state == OK
    assert server.url in found.said
    assert os.environ["CVAT_TOKEN"] not in found.said


def test_a_wrong_password_and_a_server_that_is_not_there_are_told_without_it(server, nobody):
    nobody.delenv("CVAT_TOKEN")
    nobody.setenv("CVAT_USERNAME", "anna")
    nobody.setenv("CVAT_PASSWORD", "geheim")
    found = check_cvat()
    assert (found.state, "does not let 'anna' in" in found.said) == (BROKEN, True)
    nobody.setenv("CVAT_URL", "http://anna:geheim@127.0.0.1:1")
    found = check_cvat()
    assert (found.state, "does not answer" in found.said) == (BROKEN, True)
    assert "geheim" not in found.said + found.mend
