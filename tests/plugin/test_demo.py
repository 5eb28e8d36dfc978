"""The demo, end to end on a tiny video: rendered or given, run twice, and never over somebody's data."""

from __future__ import annotations

import functools
import shutil
from pathlib import Path

import fiftyone as fo
import numpy as np
import pytest

from spam_plugin.integrations import demo
from spam_plugin.integrations.mot.rendered import Recording, write_rendered
from spam_plugin.models.columns import Candidates, Source, Tracks, VideoInfo
from spam_plugin.models.errors import InputError, MissingError
from spam_plugin.models.synthetic.render import RenderSettings
from spam_plugin.plugin import cli
from spam_plugin.plugin.commands import app

TINY = (Recording(RenderSettings("tiny", 20, 160, 120, num_objects=6, num_occluders=1)),)


class NthBox:
    """The n-th box of each frame is the n-th track; sure of the first track, in doubt about the others."""

    version = "nth-box"

    def label(self, videos: list[tuple[VideoInfo, Candidates]], settings: object = None) -> list[Tracks]:
        return [self._one(candidates) for _, candidates in videos]

    def _one(self, candidates: Candidates) -> Tracks:
        count = len(candidates)
        rank = np.arange(count) - np.searchsorted(candidates.frame, candidates.frame)
        number = rank.max(initial=-1) + 1
        doubt = np.where(rank == 0, 0.1, 0.9).astype(np.float32)
        return Tracks(
            candidates.frame, candidates.xyxy, rank, candidates.class_index, 1 - doubt, doubt, doubt,
            np.full(count, Source.MODEL, np.uint8), np.zeros(count, bool), np.arange(count),
            np.ones(number, np.float32), np.zeros(number, np.float32),
        )  # fmt: skip


@pytest.fixture
def run(monkeypatch, tmp_path, capsys):
    """Runs the command line on the tiny video with the stand-in model; gives exit code, output and errors."""
    monkeypatch.setattr(demo, "run_demo", functools.partial(demo.run_demo, recordings=TINY, model=NthBox()))

    def call(*args: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as end:
            cli.main(["--quiet", "demo", "--out", str(tmp_path), "--dataset", "tiny-demo", *args])
        said = capsys.readouterr()
        return int(end.value.code or 0), said.out, said.err

    yield call
    for name in ("tiny-demo", "mine"):
        if fo.dataset_exists(name):
            fo.delete_dataset(name)


def test_the_demo_renders_labels_scores_and_says_how_to_see_it(run):
    code, said, _ = run()
    assert code == 0
    assert "HOTA" in said
    assert "in 1 video (20 frames)" in said
    assert "simulated detector" in said
    assert "spam-plugin app tiny-demo\n" in said
    dataset = fo.load_dataset("tiny-demo")
    assert dataset.persistent
    assert dataset.count("frames.spam_tracks.detections") == dataset.count("frames.candidates.detections") > 0
    assert dataset.app_config.color_scheme.color_by == "instance"
    assert len(set(dataset.app_config.color_scheme.color_pool)) == 30
    assert dataset.count("frames.candidates.detections.embedding") == dataset.count("frames.candidates.detections")
    assert dataset.app_config.active_fields.paths == ["frames.spam_tracks"]
    assert Path(dataset.first().filepath).suffix == ".mp4"


def test_what_is_settled_is_told_in_boxes_and_in_tracks(tmp_path):
    result = demo.run_demo("tiny-demo", tmp_path, recordings=TINY, model=NthBox())
    index = np.array(result.dataset.values("frames.spam_tracks.detections.index", unwind=True))
    assert result.boxes == result.candidates == len(index)
    assert result.tracks == len(set(index.tolist()))
    assert result.settled_tracks == 1
    assert result.settled_boxes == np.bincount(index).max()
    assert (result.videos, result.frames) == (1, 20)
    fo.delete_dataset("tiny-demo")


def test_the_shipped_model_labels_the_rendered_video(tmp_path):
    result = demo.run_demo("tiny-demo", tmp_path, recordings=TINY)
    assert result.evaluation is not None
    assert result.evaluation.overall.as_dict()["HOTA"] > 0.2
    assert 0 < result.tracks < result.boxes
    fo.delete_dataset("tiny-demo")


def test_running_it_again_keeps_the_videos_and_replaces_the_dataset(run, tmp_path):
    run()
    images = tmp_path / "sequences" / "tiny" / "img1" / "000001.jpg"
    before, count = images.stat().st_mtime_ns, fo.load_dataset("tiny-demo").count("frames.spam_tracks.detections")
    assert run()[0] == 0
    assert images.stat().st_mtime_ns == before
    dataset = fo.load_dataset("tiny-demo")
    dataset.reload()
    assert (len(dataset), dataset.count("frames.spam_tracks.detections")) == (1, count)


def test_a_folder_of_ones_own_is_labelled_and_scored_where_it_has_ground_truth(run, tmp_path):
    (folder,) = write_rendered(TINY, tmp_path / "own")
    code, said, _ = run("--data", str(folder.parent))
    assert code == 0
    assert "HOTA" in said
    assert "simulated" not in said
    (folder / "gt" / "gt.txt").unlink()
    shutil.rmtree(folder / "img1")
    code, said, _ = run("--data", str(folder))
    assert code == 0
    assert "HOTA" not in said
    assert "none of the sequences has ground truth" in said
    assert not fo.load_dataset("tiny-demo").count("frames.candidates.detections.embedding")  # nothing to look at


def test_a_dataset_of_somebody_else_stays_as_it_is(tmp_path):
    fo.Dataset("mine")
    with pytest.raises(InputError, match="choose another --dataset"):
        demo.run_demo("mine", tmp_path, recordings=TINY, model=NthBox())
    assert len(fo.load_dataset("mine")) == 0
    fo.delete_dataset("mine")


def test_data_that_is_not_there_is_named(tmp_path):
    with pytest.raises(MissingError, match="nowhere"):
        demo.run_demo("tiny-demo", tmp_path, tmp_path / "nowhere")
    assert not fo.dataset_exists("tiny-demo")


def test_data_that_cannot_be_used_leaves_no_dataset_behind(run, tmp_path):
    (folder,) = write_rendered(TINY, tmp_path / "own")
    with (folder / "det" / "det.txt").open("a") as file:
        file.write("1,-1,nan,5,5,5,1\n")
    code, _, errors = run("--data", str(folder))
    assert code == 2
    assert "det.txt" in errors
    assert not fo.dataset_exists("tiny-demo")


def test_with_open_the_app_opens_on_it_as_spam_plugin_app_does(run, monkeypatch):
    asked = []
    monkeypatch.setattr(app, "open_app", lambda dataset, port: asked.append((dataset.name, port)))
    code, said, _ = run("--open", "--port", "5999")
    assert code == 0
    assert asked == [("tiny-demo", 5999)]
    assert "See it in the App" not in said
    assert "spam-plugin app tiny-demo --port 5999" in run("--port", "5999")[1]


def test_the_demo_s_own_videos_show_what_is_hard():
    videos = [recording.video for recording in demo.RECORDINGS]
    assert {video.scene for video in videos} == {"street", "road"}
    assert "walk" in {video.camera for video in videos}
    assert len({video.frame_rate for video in videos}) > 1
    assert len({video.name for video in videos}) == len(videos)


def test_rendered_videos_are_kept_in_the_users_cache(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert demo.default_folder() == tmp_path / "spam-plugin" / "demo"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert demo.default_folder() == tmp_path / "home" / ".cache" / "spam-plugin" / "demo"
