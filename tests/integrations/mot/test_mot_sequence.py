from __future__ import annotations

import re

import pytest

from spam_plugin.integrations.mot.sequence import find_sequences, open_sequence
from spam_plugin.models.errors import InputError, MissingError


def test_a_folder_tells_its_sequence(make_sequence):
    sequence = open_sequence(make_sequence(images=True))
    assert (sequence.name, sequence.size, sequence.split) == ("walk", (39, 25), "train")
    assert (sequence.info.num_frames, sequence.info.frame_rate) == (5, 10)
    assert [path.name for path in sequence.images[:2]] == ["000001.jpg", "000002.jpg"]
    assert len(sequence.ground_truth()) == 5
    assert len(sequence.detections()) == 3


def test_names_of_folder_and_images_are_found_without_being_told(make_sequence):
    root = make_sequence(images=True)
    (root / "seqinfo.ini").write_text("[Sequence]\nframeRate=29.97\nseqLength=5\nimWidth=39\nimHeight=25\n")
    sequence = open_sequence(root)
    assert sequence.name == root.name
    assert sequence.info.frame_rate == 29.97
    assert len(sequence.images) == 5


def test_images_are_ordered_by_number_and_hidden_files_are_none(make_sequence):
    root = make_sequence(images=True)
    for number in range(1, 6):
        (root / "img1" / f"{number:06d}.jpg").rename(root / "img1" / f"{number * 3}.jpg")
    (root / "img1" / "._3.jpg").write_bytes(b"")
    (root / "img1" / "Thumbs.db").write_bytes(b"")
    assert [path.stem for path in open_sequence(root).images] == ["3", "6", "9", "12", "15"]


def test_a_sequence_may_have_neither_images_nor_ground_truth_nor_detections(make_sequence):
    sequence = open_sequence(make_sequence(gt=None))
    assert sequence.images == ()
    assert sequence.ground_truth() is None
    assert sequence.detections("none") is None


def test_a_folder_of_sequences_expands_to_them(make_sequence):
    for name, folder in (("b", "set/train"), ("a", "set/train"), ("c", "set/test")):
        make_sequence(name, folder=folder)
    root = make_sequence("d", folder="other").parent.parent
    found = find_sequences([root / "set", root / "other" / "d", root / "set" / "train" / "a"])
    assert [(sequence.name, sequence.split) for sequence in found] == [
        ("c", "test"),
        ("a", "train"),
        ("b", "train"),
        ("d", "other"),
    ]


def test_two_sequences_of_one_name_are_refused(make_sequence):
    paths = [make_sequence(folder="train"), make_sequence(folder="test")]
    with pytest.raises(InputError, match="both hold a sequence named 'walk'"):
        find_sequences(paths)


def test_missing_things_are_named(make_sequence, tmp_path):
    with pytest.raises(MissingError, match="nowhere: no such folder"):
        find_sequences([tmp_path / "nowhere"])
    with pytest.raises(MissingError, match=r"no seqinfo\.ini in it"):
        find_sequences([tmp_path])
    with pytest.raises(MissingError, match=r"seqinfo\.ini: no such file"):
        open_sequence(tmp_path)
    sequence = open_sequence(make_sequence())
    with pytest.raises(MissingError, match=r"det_b\.txt: no such file; choose one of det\.txt with --detections"):
        sequence.detections("det_b.txt")
    (sequence.folder / "det" / "det.txt").unlink()
    with pytest.raises(MissingError, match="there are no detections, or import without them by --detections none"):
        sequence.detections()


@pytest.mark.parametrize(
    ("key", "value", "kind", "message"),
    [
        ("seqLength", None, MissingError, "seqLength is missing"),
        ("frameRate", None, MissingError, "frameRate is missing"),
        ("seqLength", "many", InputError, "seqLength is 'many', which is not a positive whole number"),
        ("imWidth", "39.5", InputError, "imWidth is '39.5', which is not a positive whole number"),
        ("seqLength", "0", InputError, "seqLength is '0', which is not a positive whole number"),
        ("frameRate", "0", InputError, "frameRate is '0', which is not a positive number"),
        ("frameRate", "nan", InputError, "frameRate is 'nan', which is not a positive number"),
        ("imHeight", "-25", InputError, "imHeight is '-25', which is not"),
        ("name", "a/b", InputError, "cannot be a file's name"),
    ],
)
def test_a_value_of_the_ini_file_that_cannot_be_used_is_named(make_sequence, key, value, kind, message):
    root = make_sequence()
    text = re.sub(
        f"^{key}=.*$", "" if value is None else f"{key}={value}", (root / "seqinfo.ini").read_text(), flags=re.M
    )
    (root / "seqinfo.ini").write_text(text)
    with pytest.raises(kind, match=message) as caught:
        open_sequence(root)
    assert str(root / "seqinfo.ini") in str(caught.value)


@pytest.mark.parametrize("data", [b"seqLength=5\n", b"\xff\xfe\x00[", b"[Sequence\n"])
def test_a_file_that_is_no_ini_file_is_named(make_sequence, data):
    root = make_sequence()
    (root / "seqinfo.ini").write_bytes(data)
    with pytest.raises(InputError, match="is not an ini file"):
        open_sequence(root)


def test_an_ini_file_without_the_section_is_named(make_sequence):
    root = make_sequence()
    (root / "seqinfo.ini").write_text("[Other]\n")
    with pytest.raises(MissingError, match=r"\[Sequence\] is missing"):
        open_sequence(root)


def test_a_wrong_number_of_images_is_told(make_sequence):
    root = make_sequence(images=True)
    (root / "img1" / "000003.jpg").unlink()
    with pytest.raises(InputError, match=r"holds 4 images, but seqLength in .* is 5"):
        open_sequence(root)
    for image in (root / "img1").iterdir():
        image.unlink()
    with pytest.raises(InputError, match="holds no images; put them there, or remove the folder"):
        open_sequence(root)


def test_an_image_of_another_size_is_named(make_sequence):
    sequence = open_sequence(make_sequence(images=True, imWidth="40"))
    with pytest.raises(InputError, match=r"000001\.jpg \(sequence walk, frame 1\): is 39x25, but imWidth .* is 40x25"):
        sequence.check_images()


@pytest.mark.parametrize("suffix", [".jpg", ".png"])
def test_a_truncated_image_is_named_when_its_pixels_are_read(make_sequence, suffix):
    sequence = open_sequence(make_sequence(images=True, suffix=suffix))
    path = sequence.images[3]
    data = path.read_bytes()
    path.write_bytes(data[: len(data) * 2 // 3] if suffix == ".png" else data[:-20])
    sequence.check_images()
    with pytest.raises(InputError, match=rf"{path.name} \(sequence walk, frame 4\): cannot be read"):
        sequence.check_images(decode=True)


def test_a_file_that_is_no_image_is_named(make_sequence):
    sequence = open_sequence(make_sequence(images=True))
    sequence.images[1].write_bytes(b"no image")
    with pytest.raises(InputError, match=r"frame 2\): cannot be read \(not an image\)"):
        sequence.check_images()
