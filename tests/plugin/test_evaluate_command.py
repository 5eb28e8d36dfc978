"""``spam-plugin evaluate``, called as from a shell."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator

import fiftyone as fo
import pytest

from spam_plugin.integrations.fiftyone_.raw import declare_detections, detection_dict, write_frame_labels
from spam_plugin.plugin.cli import main

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def dataset() -> Iterator[str]:
    """One object in five frames of "street", found in four; "park" has no ground truth."""
    dataset = fo.Dataset("evaluate-command")
    dataset.add_samples([fo.Sample(filepath=f"/videos/{name}.mp4") for name in ("street", "park")])
    box = [detection_dict("pedestrian", [0.1, 0.1, 0.2, 0.2], 1)]
    for field, frames in (("tracks", range(1, 5)), ("truth", range(1, 6)), ("empty", range(0))):
        declare_detections(dataset, f"frames.{field}")
        write_frame_labels(dataset, dataset.first().id, field, dict.fromkeys(frames, box))
    write_frame_labels(dataset, dataset.last().id, "tracks", {1: box})
    dataset.save_view("parks", dataset.match(fo.ViewField("filepath").ends_with("park.mp4")))
    dataset.save_view("streets", dataset.match(fo.ViewField("filepath").ends_with("street.mp4")))
    yield dataset.name
    dataset.delete()


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs the command; gives exit code, standard output and standard error."""

    def call(*args: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as stop:
            main(["evaluate", *args])
        told = capsys.readouterr()
        return stop.value.code, told.out, told.err

    return call


def test_json_alone_is_on_standard_output_in_percent(dataset: str, run: Run) -> None:
    code, out, err = run(dataset, "--pred", "tracks", "--gt", "truth", "--json")
    scores = json.loads(out)
    assert code == 0
    assert list(scores) == ["videos", "overall"]
    assert list(scores["videos"]) == ["street"]
    assert (scores["overall"]["MOTA"], scores["overall"]["IDSW"], scores["overall"]["FN"]) == (80.0, 0, 1)
    assert scores["overall"]["IDF1"] == 88.8889
    assert "left out, without ground truth: park" in err


def test_the_table_has_a_row_per_video_and_one_overall(dataset: str, run: Run) -> None:
    code, out, _ = run(dataset, "--pred", "tracks", "--gt", "truth", "--preprocess", "mot17", "--view", "streets")
    assert code == 0
    for word in ("HOTA", "DetA", "AssA", "MOTA", "IDF1", "IDSW", "street", "overall", "80.00", "88.89"):
        assert word in out


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["nowhere", "--pred", "tracks", "--gt", "truth"], "there is no dataset 'nowhere'; there are: "),
        (["evaluate-command", "--pred", "x", "--gt", "truth"], "has no field 'frames.x'; fields with boxes: 'tracks'"),
        (
            ["evaluate-command", "--pred", "tracks", "--gt", "frame_number"],
            "is of type FrameNumberField, not Detections",
        ),
        (["evaluate-command", "--pred", "tracks", "--gt", "empty"], "has ground truth in field 'empty'"),
        (["evaluate-command", "--pred", "tracks", "--gt", "truth", "--view", "x"], "has no saved view 'x'; it has: "),
        (["evaluate-command", "--pred", "tracks", "--gt", "truth", "--view", "parks"], "has ground truth in field"),
    ],
)
def test_what_the_user_can_mend_is_one_line_and_exit_code_2(
    dataset: str, run: Run, args: list[str], message: str
) -> None:
    code, out, err = run(*args)
    assert (code, out) == (2, "")
    assert message in err
    assert err.startswith("error: ")
    assert len(err.splitlines()) == 1


def test_an_unknown_benchmark_is_refused(dataset: str, run: Run) -> None:
    code, out, err = run(dataset, "--pred", "tracks", "--gt", "truth", "--preprocess", "mot99")
    assert (code, out) == (2, "")
    assert "'mot99' is not one of 'mot17', 'mot20'" in err
