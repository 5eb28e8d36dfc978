from __future__ import annotations

import fiftyone as fo
import pytest

from spam_plugin.plugin.cli import main

INI = "[Sequence]\nname=walk\nframeRate=10\nseqLength=3\nimWidth=40\nimHeight=30\n"


@pytest.fixture
def sequence(tmp_path):
    root = tmp_path / "train" / "walk"
    (root / "gt").mkdir(parents=True)
    (root / "det").mkdir()
    (root / "seqinfo.ini").write_text(INI)
    (root / "gt" / "gt.txt").write_text("1,1,2,3,10,8,1,1,1\n2,1,3,3,10,8,1,1,0.5\n")
    (root / "det" / "det.txt").write_text("1,-1,2,3,10,8,0.5,-1,-1,-1\n2,-1,3,3,0,8,0.5,-1,-1,-1\n")
    return root


@pytest.fixture
def run(capsys):
    """Runs the command line; returns its exit code, output and error output."""

    def call(*args):
        with pytest.raises(SystemExit) as ended:
            main([str(arg) for arg in args])
        captured = capsys.readouterr()
        return ended.value.code, captured.out, captured.err

    return call


@pytest.fixture
def name():
    name = "mot-commands"
    yield name
    if fo.dataset_exists(name):
        fo.delete_dataset(name)


def test_a_folder_goes_in_and_text_comes_out(run, sequence, name, tmp_path):
    into = ("import-mot", sequence.parent, "--dataset", name, "--media-dir", tmp_path / "media")
    code, out, err = run(*into)
    assert (code, out) == (2, "")
    assert err.startswith("error: ")
    assert "det.txt, line 2 (frame 2)" in err
    assert err.count("\n") == 1
    assert not fo.dataset_exists(name)

    code, out, _ = run(*into, "--skip-bad", "--class-name", "1=car")
    assert code == 0
    assert out == ("walk: lines left out (box without area: 1)\ndataset 'mot-commands': 1 sequence, 3 boxes imported\n")
    assert fo.load_dataset(name).distinct("frames.ground_truth.detections.label") == ["car"]

    code, out, err = run(*into, "--skip-bad")
    assert code == 2
    assert "has walk already; replace what is there with --overwrite" in err
    assert run(*into, "--skip-bad", "--overwrite")[0] == 0

    code, out, _ = run("export-mot", name, "--field", "ground_truth", "--out", tmp_path / "out")
    assert (code, out) == (0, f"1 file in {tmp_path / 'out'}\n")
    assert (tmp_path / "out" / "walk.txt").read_text() == (sequence / "gt" / "gt.txt").read_text()

    code, _, err = run("export-mot", name, "--field", "candidates", "--out", tmp_path / "out")
    assert code == 2
    assert "has no index" in err
    assert run("export-mot", name, "--field", "candidates", "--out", tmp_path / "det", "--without-ids")[0] == 0
    assert (tmp_path / "det" / "walk.txt").read_text() == "1,-1,2,3,10,8,0.5,-1,-1,-1\n"


@pytest.mark.parametrize("wrong", ["car", "x=car", "1=", "-1=car"])
def test_a_class_name_that_cannot_be_read_is_told(run, sequence, name, wrong):
    code, _, err = run("import-mot", sequence, "--dataset", name, "--class-name", wrong)
    assert code == 2
    assert "is not NUMBER=NAME" in err


def test_missing_things_end_with_2_and_one_line(run, name, tmp_path):
    for args in (
        ("import-mot", tmp_path / "nowhere", "--dataset", name),
        ("export-mot", name, "--field", "x", "--out", tmp_path),
    ):
        code, out, err = run(*args)
        assert (code, out, err.count("\n")) == (2, "", 1)


@pytest.mark.parametrize("command", ["import-mot", "export-mot"])
def test_help_shows_examples(run, command):
    code, out, _ = run(command, "--help")
    assert code == 0
    assert f"spam-plugin {command} " in out
