"""``spam-plugin sync`` and ``webhook``: options, exit codes, and what scripts read."""

from __future__ import annotations

import json

import pytest
from cvat_server import CvatServer

from spam_plugin.plugin.cli import main


def run(capfd, *args: str) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as caught:
        main(["-q", *args])
    said = capfd.readouterr()
    return int(caught.value.code or 0), said.out, said.err


@pytest.mark.parametrize("command", ["sync", "webhook"])
def test_help_has_examples(capfd, command):
    code, out, _ = run(capfd, command, "--help")
    assert code == 0
    assert "Examples:" in out


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--pull-only", "--push-only"], "leave nothing to do"),
        (["--track", "3"], "--settle"),
        (["--after", "5"], "go together"),
        (["--after", "5", "--run", "true"], "need --watch"),
        (["--share", "a", "--cloud", "1", "b"], "not in both"),
    ],
)
def test_options_that_do_not_go_together_are_refused(capfd, options, words):
    code, _, err = run(capfd, "sync", "nowhere", *options)
    assert code == 2
    assert words in err


def test_a_dataset_that_is_not_there_is_named(capfd, monkeypatch):
    monkeypatch.setenv("CVAT_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("CVAT_TOKEN", "x")
    code, _, err = run(capfd, "sync", "nowhere")
    assert code == 2
    assert "nowhere" in err


def test_a_round_through_the_command_line(capfd, monkeypatch, tmp_path):
    import cv2
    import fiftyone as fo
    import numpy as np
    from cvat_reviewer.data import HEIGHT, RATE, WIDTH, straight, write_tracks

    writer = cv2.VideoWriter(str(tmp_path / "v.mp4"), cv2.VideoWriter_fourcc(*"mp4v"), RATE, (WIDTH, HEIGHT))
    for _ in range(30):
        writer.write(np.zeros((HEIGHT, WIDTH, 3), np.uint8))
    writer.release()
    dataset = fo.Dataset(persistent=True)
    try:
        for file in ("v.mp4", "gone.mp4"):
            sample = fo.Sample(str(tmp_path / file), sequence=file)
            sample.metadata = fo.VideoMetadata(
                total_frame_count=30, frame_width=WIDTH, frame_height=HEIGHT, frame_rate=RATE
            )
            dataset.add_sample(sample)
            write_tracks(dataset, str(sample.id), straight(1, 0, 29))
        with CvatServer() as server:
            for name, value in (("URL", server.url), ("USERNAME", server.username), ("PASSWORD", server.password)):
                monkeypatch.setenv(f"CVAT_{name}", value)
            monkeypatch.delenv("CVAT_TOKEN", raising=False)
            code, out, _ = run(capfd, "sync", dataset.name, "--all", "--dry-run")
            assert "would do" in out
            assert server.projects() == []
            code, out, err = run(capfd, "sync", dataset.name, "--all", "--json")
            assert code == 3  # one video is not there, the other is done
            assert "gone.mp4" in json.loads(out)["problems"][0]
            assert server.password not in out + err
            code, out, _ = run(capfd, "sync", dataset.name, "--status", "--json")
            (row,) = json.loads(out)
            assert (code, row["state"], row["tracks"]) == (0, "new", 1)
            code, _, err = run(capfd, "sync", dataset.name, "--forget")
            assert code == 0
            assert "forgot" in err
    finally:
        dataset.delete()
