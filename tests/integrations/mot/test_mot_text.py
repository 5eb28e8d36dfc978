from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spam_plugin.integrations.mot.classes import CLASS_NAMES, with_names
from spam_plugin.integrations.mot.text import Table, read_table, write_table
from spam_plugin.models.errors import InputError, MissingError

GOOD = b"1,1,2,3,10,8,1,1,1\n"


def read(tmp_path, data, kind="gt", **options):
    path = tmp_path / "gt.txt"
    path.write_bytes(data)
    return read_table(path, kind, num_frames=5, size=(40, 30), classes=CLASS_NAMES, **options)


def test_frames_count_from_0_and_boxes_become_corners(tmp_path):
    table = read(tmp_path, b"2,7,2,3,10.5,8,1,3,0.25\n")
    assert table.frame.tolist() == [1]
    assert table.track_id.tolist() == [7]
    assert table.xyxy.tolist() == [[2, 3, 12.5, 11]]
    assert table.class_id.tolist() == [3]
    assert table.visibility.tolist() == [0.25]
    assert not table.ignored.any()


@pytest.mark.parametrize(
    "data",
    [
        b"1,1,2,3,10,8,1,1,1\r\n3,1,3,3,10,8,0,8,0.5\r\n",
        b"1 1 2 3 10 8 1 1 1\n3 1 3 3 10 8 0 8 0.5\n",
        b"1\t1\t2\t3\t10\t8\t1\t1\t1\n3\t1\t3\t3\t10\t8\t0\t8\t0.5",
        b"1, 1, 2, 3, 10, 8, 1, 1, 1\n\n  \n3, 1, 3, 3, 10, 8, 0, 8, 0.5\n\n",
        b"1,1,2,3,10,8,1,1,1,\n3,1,3,3,10,8,0,8,0.5,,\n",
        b"1;1;2;3;10;8;1;1;1\n3;1;3;3;10;8;0;8;5e-1\n",
        b"\xef\xbb\xbf1,1,2,3,10,8,1,1,1\r3,1,3,3,10,8,0,8,0.5\r",
        b"3,1,3,3,10,8,0,8,0.5\n1,1,2,3,10,8,1,1,1\n",
    ],
    ids=["CRLF", "blanks", "tabs", "blank lines", "trailing commas", "semicolons", "BOM and CR", "unsorted"],
)
def test_every_way_to_write_a_table_gives_the_same_columns(tmp_path, data):
    table = read(tmp_path, data)
    assert table.frame.tolist() == [0, 2]
    assert table.xyxy.tolist() == [[2, 3, 12, 11], [3, 3, 13, 11]]
    assert table.ignored.tolist() == [False, True]
    assert table.class_id.tolist() == [1, 8]
    assert table.visibility.tolist() == [1, 0.5]


def test_lines_of_one_frame_keep_their_order_when_frames_are_sorted(tmp_path):
    table = read(tmp_path, b"2,5,1,1,5,5,1\n1,9,1,1,5,5,1\n2,3,1,1,5,5,1\n1,4,1,1,5,5,1\n")
    assert table.track_id.tolist() == [9, 4, 5, 3]


@pytest.mark.parametrize("data", [b"", b"\n", b" \r\n\r\n", b",,,\n"])
def test_a_file_without_lines_has_no_boxes(tmp_path, data):
    assert len(read(tmp_path, data)) == 0


@pytest.mark.parametrize("tail", [b"", b",-1,-1,-1", b",-4.93,2.5,0", b",nan,nan,nan", b",-1", b",-1,-1"])
def test_world_coordinates_or_no_class_mean_a_pedestrian_in_full_view(tmp_path, tail):
    table = read(tmp_path, b"1,1,2,3,10,8,1" + tail)
    assert table.class_id.tolist() == [1]
    assert abs(table.visibility.item()) == 1
    assert not table.has_class


def test_boxes_partly_outside_the_image_are_kept_unclipped(tmp_path):
    table = read(tmp_path, b"1,1,-5,-5,100,100,1\n")
    assert table.xyxy.tolist() == [[-5, -5, 95, 95]]


def test_ignored_ground_truth_may_lie_outside_the_image_as_in_mot17(tmp_path):
    assert len(read(tmp_path, b"1,1,42,3,4,4,0,10,0\n")) == 1


def test_lines_may_differ_in_length(tmp_path):
    table = read(tmp_path, b"1,1,2,3,10,8,1\n2,1,2,3,10,8,1,3,0.5\n3,1,2,3,10,8,1,9.5,9.5,9.5,7\n")
    assert table.class_id.tolist() == [1, 3, 1]


BAD = {
    "truncated": (b"2,1,2,3", "too few columns", "has 4 columns, but 7 are needed"),
    "words": (b"frame,id,x,y,w,h,conf", "not a number", "'frame' is not a number"),
    "underscores": (b"2,1,1_0,3,10,8,1", "not a number", "'1_0' is not a number"),
    "NUL bytes": (b"2,1,2\x00,3,10,8,1", "not a number", "is not a number"),
    "empty field": (b"2,1,,3,10,8,1,1,1", "not a number", "a field is empty"),
    "empty first field": (b",1,2,3,10,8,1,1,1", "not a number", "a field is empty"),
    "NaN": (b"2,1,nan,3,10,8,1,1,1", "NaN or infinite", "NaN or an infinite"),
    "NaN visibility": (b"2,1,2,3,10,8,1,1,nan", "NaN or infinite", "NaN or an infinite"),
    "infinite": (b"2,1,2,3,inf,8,1,1,1", "NaN or infinite", "NaN or an infinite"),
    "overflow": (b"2,1,2,3,1e999,8,1,1,1", "NaN or infinite", "NaN or an infinite"),
    "half a frame": (b"2.5,1,2,3,10,8,1,1,1", "not a whole number", "must be whole numbers"),
    "huge id": (b"2,1e300,2,3,10,8,1,1,1", "not a whole number", "must be whole numbers"),
    "frame 0": (b"0,1,2,3,10,8,1,1,1", "frame outside the sequence", "count from 1 to the sequence's 5"),
    "frame too late": (b"6,1,2,3,10,8,1,1,1", "frame outside the sequence", "count from 1 to the sequence's 5"),
    "no width": (b"2,1,2,3,0,8,1,1,1", "box without area", "has no area"),
    "negative height": (b"2,1,2,3,10,-8,1,1,1", "box without area", "has no area"),
    "left of the image": (b"2,1,-12,3,10,8,1,1,1", "box outside the image", "wholly outside the image of 40x30"),
    "below the image": (b"2,1,2,30,10,8,1,1,1", "box outside the image", "wholly outside the image of 40x30"),
    "no track": (b"2,-1,2,3,10,8,1,1,1", "no track id", "has the id -1"),
    "unknown class": (b"2,1,2,3,10,8,1,99,1", "unknown class", "class 99 is unknown (--class-name 99=NAME"),
    "repeated": (b"1,1,9,3,10,8,1,1,1", "duplicate", "id 1 stands in this frame twice"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_line_is_named_with_file_line_and_mend(tmp_path, name):
    line, _, message = BAD[name]
    with pytest.raises(InputError) as caught:
        read(tmp_path, GOOD + b"\r\n" + line + b"\n")
    text = str(caught.value)
    assert text.startswith(f"{tmp_path / 'gt.txt'}, line 3")
    assert message in text
    assert "--skip-bad" in text
    assert "\n" not in text


@pytest.mark.parametrize("name", BAD)
def test_a_bad_line_can_be_left_out_and_is_counted(tmp_path, name):
    line, reason, _ = BAD[name]
    table = read(tmp_path, GOOD + line + b"\n" + b"3,1,2,3,10,8,1,1,1\n", skip_bad=True)
    assert table.frame.tolist() == [0, 2]
    assert table.skipped == {reason: 1}


def test_the_frame_of_a_bad_line_and_the_number_of_such_lines_are_told(tmp_path):
    with pytest.raises(InputError, match=r"line 1 \(frame 2\).*\(2 such lines\)"):
        read(tmp_path, b"2,1,2,3,0,8,1\n3,1,2,3,0,8,1\n")


def test_detections_may_share_a_frame_and_the_id_but_not_be_the_very_same(tmp_path):
    lines = b"1,-1,2,3,10,8,0.5,-1,-1,-1\n1,-1,2,3,10,8,0.6,-1,-1,-1\n"
    assert len(read(tmp_path, lines, "det")) == 2
    with pytest.raises(InputError, match=r"line 3 \(frame 1\): the same box"):
        read(tmp_path, lines + lines[: len(lines) // 2], "det")
    table = read(tmp_path, lines + lines, "det", skip_bad=True)
    assert (len(table), table.skipped) == (2, {"duplicate": 2})


def test_a_missing_file_and_a_folder_are_told_in_one_line(tmp_path):
    with pytest.raises(MissingError, match="no such file"):
        read_table(tmp_path / "none.txt", "gt")
    with pytest.raises(InputError, match="cannot be read"):
        read_table(tmp_path, "gt")


def test_columns_of_unequal_length_are_no_table():
    with pytest.raises(InputError, match="table"):
        Table(np.zeros(2, np.int64), np.zeros(1, np.int64), np.zeros((2, 4)), np.zeros(2), np.zeros(2), np.zeros(2))


def test_names_of_classes_can_be_given_and_stay_unique():
    names = with_names({1: "car", 20: "drone"})
    assert (names[1], names[3], names[20]) == ("car", "car (3)", "drone")
    assert with_names(None) == CLASS_NAMES
    for wrong in ({1: "x", 2: "x"}, {-1: "x"}, {1: " "}):
        with pytest.raises(InputError, match="class name"):
            with_names(wrong)


pixels = st.floats(-5000, 5000, width=32)
sides = st.floats(0.015625, 5000, width=32)
rows = st.tuples(st.integers(0, 99), pixels, pixels, sides, sides, st.floats(-1000, 1000, width=32), st.floats(0, 1))


@given(found=st.lists(rows, max_size=20), has_class=st.booleans(), data=st.data())
def test_what_was_written_is_read_again_within_a_hundredth_of_a_pixel(tmp_path_factory, found, has_class, data):
    found = sorted(found, key=lambda row: row[0])
    columns = np.array(found, np.float64).reshape(-1, 7)
    count = len(found)
    classes = data.draw(st.lists(st.integers(1, 13), min_size=count, max_size=count)) if has_class else [1] * count
    table = Table(
        frame=columns[:, 0].astype(np.int64),
        track_id=np.arange(count),
        xyxy=np.concatenate([columns[:, 1:3], columns[:, 1:3] + columns[:, 3:5]], 1),
        confidence=columns[:, 5],
        class_id=np.array(classes, np.int64),
        visibility=columns[:, 6] if has_class else np.ones(count),
        has_class=has_class,
    )
    path = tmp_path_factory.mktemp("text") / "new" / "table.txt"
    write_table(path, table)
    again = read_table(path, "gt", num_frames=100)
    assert again.has_class == (has_class and count > 0)
    for key in ("frame", "track_id", "class_id"):
        assert getattr(again, key).tolist() == getattr(table, key).tolist()
    np.testing.assert_allclose(again.xyxy, table.xyxy, atol=0.001)
    np.testing.assert_allclose(again.confidence, table.confidence, rtol=1e-8, atol=1e-12)
    np.testing.assert_allclose(again.visibility, table.visibility, rtol=1e-8, atol=1e-12)
    assert [file.name for file in path.parent.iterdir()] == ["table.txt"]


@given(st.binary(max_size=200))
def test_bytes_of_any_kind_give_a_table_or_one_line(tmp_path_factory, noise):
    path = tmp_path_factory.mktemp("noise") / "gt.txt"
    path.write_bytes(GOOD + noise)
    table = read_table(path, "gt", num_frames=5, size=(40, 30), skip_bad=True)
    if not table.skipped:
        read_table(path, "gt", num_frames=5, size=(40, 30))
        return
    with pytest.raises(InputError) as caught:
        read_table(path, "gt", num_frames=5, size=(40, 30))
    assert len(str(caught.value).splitlines()) == 1


words = st.sampled_from(["1", "2", "3", "4.5", "0.5", "-1", " 6 ", "", "x", "nan", "1e2"])
lines = st.lists(words, min_size=5, max_size=11).map(",".join)


def one_by_one(text):
    """The rules for detections once more, a line at a time."""
    found = []
    for line in text.split("\n"):
        fields = line.rstrip(", ").split(",")
        try:
            numbers = [float(field) for field in fields]
        except ValueError:
            continue
        if len(numbers) < 7:
            continue
        used = numbers[:9] if len(numbers) < 10 else numbers[:7]
        whole = [*numbers[:2], *(used[7:8])]
        if not np.isfinite(used).all() or any(number != int(number) for number in whole):
            continue
        frame, _, x, y, width, height, confidence = numbers[:7]
        row = (frame - 1, x, y, x + width, y + height, confidence)
        if frame >= 1 and width > 0 and height > 0:
            found.append((row, tuple(numbers[:7]) + tuple(used[7:8])))
    unique = {}
    for row, key in found:
        unique.setdefault(key, row)
    return sorted(unique.values(), key=lambda row: row[0])


@given(st.lists(lines, max_size=8))
def test_lines_read_at_once_agree_with_lines_read_one_by_one(tmp_path_factory, found):
    path = tmp_path_factory.mktemp("lines") / "det.txt"
    path.write_text("\n".join(found))
    table = read_table(path, "det", skip_bad=True)
    rows = np.column_stack([table.frame, table.xyxy, table.confidence])
    assert [tuple(row) for row in rows.tolist()] == one_by_one("\n".join(found))
    held = sum(bool(line.strip(", ")) for line in found)
    assert len(table) + sum(table.skipped.values()) == held


def test_real_tables_come_back_byte_for_byte(shared_data, tmp_path):
    source = shared_data / "mot_images" / "TUD-Campus"
    for kind, path in (("gt", source / "gt" / "gt.txt"), ("det", source / "det" / "det.txt")):
        write_table(tmp_path / path.name, read_table(path, kind))
        assert (tmp_path / path.name).read_text() == path.read_text()
