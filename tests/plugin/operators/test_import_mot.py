"""Operator "import": it looks into the folder before anything happens, and opens what it has made."""

from __future__ import annotations

import pytest

FRAMES = 5


@pytest.fixture
def folder(tmp_path):
    """A function that writes a sequence without images: its detections, and its truth if wanted."""

    def write(name, truth=True, detections=("det.txt",), boxes=2):
        place = tmp_path / "bench" / name
        lines = "".join(f"{t},-1,{10 * n},20,30,40,0.9\n" for t in range(1, FRAMES + 1) for n in range(1, boxes + 1))
        for file in detections:
            (place / "det").mkdir(parents=True, exist_ok=True)
            (place / "det" / file).write_text(lines)
        if truth:
            (place / "gt").mkdir(parents=True, exist_ok=True)
            (place / "gt" / "gt.txt").write_text("".join(f"{t},1,10,20,30,40,1,1,1\n" for t in range(1, FRAMES + 1)))
        place.mkdir(parents=True, exist_ok=True)
        (place / "seqinfo.ini").write_text(
            f"[Sequence]\nname={name}\nseqLength={FRAMES}\nimWidth=320\nimHeight=240\nframeRate=10\nimDir=img1\n"
        )
        return tmp_path / "bench"

    return write


@pytest.fixture
def name():
    """Of a dataset that is gone after the test."""
    import fiftyone as fo

    yield "imported by a button"
    if fo.dataset_exists("imported by a button"):
        fo.delete_dataset("imported by a button")


def test_the_form_needs_no_dataset_and_begins_with_the_folder(ops):
    form = ops.form("import_mot", None)
    assert form.names == ["folder"]
    assert not form.invalid


def test_the_form_says_what_is_there(ops, folder):
    folder("a")
    bench = folder("b", truth=False)
    form = ops.form("import_mot", None, folder=str(bench))
    assert form.said["preview"] == f"2 sequences, {2 * FRAMES} frames; 0 with images, 1 with ground truth"
    assert form.said["dark"] == "2 without images become plain dark videos"
    assert form.defaults["dataset"] == "bench"
    assert form.choices["detections"] == ["det.txt", "none"]
    assert form.defaults["detections"] == "det.txt"
    assert "media" not in form.names  # without images there are no samples to make of them
    assert not form.invalid


def test_only_detections_that_all_sequences_have_are_offered(ops, folder):
    folder("a", detections=("yolo.txt", "det.txt"))
    bench = folder("b", detections=("yolo.txt",))
    form = ops.form("import_mot", None, folder=str(bench))
    assert form.choices["detections"] == ["yolo.txt", "none"]
    assert form.defaults["detections"] == "yolo.txt"


@pytest.mark.parametrize(
    ("path", "why"), [("here", "is not a whole path"), ("/nowhere/at/all", "no such folder"), ("", None)]
)
def test_a_folder_that_cannot_be_is_refused_at_the_field(ops, path, why):
    form = ops.form("import_mot", None, folder=path)
    assert form.names == ["folder"]
    if why:
        assert why in form.invalid["folder"]


def test_a_folder_without_sequences_is_refused_at_the_field(ops, tmp_path):
    assert "seqinfo.ini" in ops.form("import_mot", None, folder=str(tmp_path)).invalid["folder"]


def test_names_of_classes_are_checked(ops, folder):
    bench = folder("a")
    assert "NUMBER=NAME" in ops.form("import_mot", None, folder=str(bench), class_names="car").invalid["class_names"]
    assert not ops.form("import_mot", None, folder=str(bench), class_names="1=car, 2=bus").invalid


def test_the_app_opens_the_dataset_when_it_is_there(ops, folder, name):
    import fiftyone as fo

    lived = ops.live("import_mot", None, folder=str(folder("a")), dataset=name, class_names="1=car")
    dataset = fo.load_dataset(name)
    boxes = sum(dataset.count(f"frames.{field}.detections") for field in ("candidates", "ground_truth"))
    assert boxes == 3 * FRAMES
    assert lived.shown.said["said"] == f"1 sequence, {boxes} boxes imported into {name!r}"
    assert lived.effects == [("open_dataset", {"dataset": name})]
    assert dataset.distinct("frames.ground_truth.detections.label") == ["car"]
    assert "There is a dataset" in ops.form("import_mot", None, folder=str(folder("b")), dataset=name).said["there"]


def test_lines_that_cannot_be_used_are_refused_or_told(ops, folder, name):
    bench = folder("a")
    with (bench / "a" / "det" / "det.txt").open("a") as file:
        file.write("1,-1,nan,20,30,40,0.9\n")
    refused = ops.live("import_mot", None, folder=str(bench), dataset=name)
    assert "det.txt" in refused.shown.said["said"]
    assert refused.effects == []
    lived = ops.live("import_mot", None, folder=str(bench), dataset=name, skip_bad=True)
    assert lived.shown.said["problem_0"].startswith("a: left out 1 lines")


def test_a_script_and_a_worker_import_too(ops, folder, name, crossing):
    result = ops.script("import_mot", None, folder=str(folder("a")), dataset=name)
    assert result["added"] == ["a"]
    job = ops.job("import_mot", crossing, folder=str(folder("b")), dataset=name)
    assert job.run_state == "completed"
    assert (job.result.result["added"], job.result.result["kept"]) == (["b"], ["a"])
