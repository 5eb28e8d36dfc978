"""What other tools leave in a job's annotations: mended or left out, and said."""

from __future__ import annotations

import re
from typing import Any

import pytest

from spam_plugin.engine.desk.ports import JobState
from spam_plugin.engine.desk.sheets import SheetTrack
from spam_plugin.integrations.cvat.translate import Classes

JOB = JobState(5, 1, 10, 19, "new", "annotation", "", "")
LABELS: tuple[dict[str, Any], ...] = (
    {"id": 1, "name": "car", "attributes": [
        {"id": 11, "name": "track_uid", "mutable": False, "input_type": "text", "values": [""]},
        {"id": 12, "name": "pose", "mutable": True, "input_type": "text", "values": [""]},
    ]},
)  # fmt: skip


def keyframe(frame: Any, *points: Any, **more: Any) -> dict[str, Any]:
    return {"type": "rectangle", "frame": frame, "points": list(points or (1, 2, 11, 12)), "attributes": [], **more}


def read(*shapes: Any, loose: Any = (), tags: Any = (), **more: Any) -> tuple[tuple[SheetTrack, ...], list[Any]]:
    track = {"id": 3, "label_id": 1, "attributes": [{"spec_id": 11, "value": "u"}], "shapes": list(shapes), **more}
    data = {"tracks": [track] if shapes or more else [], "shapes": list(loose), "tags": list(tags)}
    return Classes(1, LABELS).receive(JOB, data)


@pytest.mark.parametrize(
    "more",
    [
        {"label_id": 99},
        {"label_id": None},
        {"shapes": []},
        {"shapes": [keyframe(12, type="polygon"), keyframe(13)]},
        {"shapes": [keyframe(12, 1, 2, 3), keyframe(30)]},
        {"shapes": [{"type": "rectangle", "frame": "x"}]},
        {"shapes": None},
        {"shapes": ["x"]},
        {"attributes": [7]},
    ],
)
def test_a_track_that_is_of_no_use_is_left_out_as_a_whole(more):
    tracks, refusals = read(keyframe(12), **more)
    assert not tracks
    assert [(one.job, one.remote) for one in refusals if one.whole] == [(5, 3)]
    assert all("job 5, track 3" in one.text for one in refusals)


@pytest.mark.parametrize(
    ("shapes", "frames", "box", "note"),
    [
        ([keyframe(12), keyframe(13, 1, 2, 3)], [12], [1, 2, 11, 12], "frame 14: box .* not four finite numbers"),
        ([keyframe(12), keyframe(13, 1, 2, float("nan"), 4)], [12], [1, 2, 11, 12], "frame 14.*finite"),
        ([keyframe(12, 11, 2, 1, 12)], [12], [1, 2, 11, 12], "frame 13: the corners .* put right"),
        ([keyframe(12), keyframe(13, 1, 2, 1, 12)], [12], [1, 2, 11, 12], "frame 14.*no area"),
        ([keyframe(12), keyframe(20)], [12], [1, 2, 11, 12], "frame 21 is behind the job's end"),
        ([keyframe(12), keyframe(12, 3, 3, 9, 9)], [12], [1, 2, 11, 12], "two boxes in frame 13; the first"),
        ([keyframe(12, 0, 0, 10, 20, rotation=90)], [12], [-5, 5, 15, 15], "turned by 90"),
        ([keyframe(12, rotation=-180.0)], [12], [1, 2, 11, 12], "turned by 180"),
    ],
)
def test_a_keyframe_that_cannot_be_is_mended_or_left_out_and_said(shapes, frames, box, note):
    (track,), (refusal,) = read(*shapes)
    assert track.frame.tolist() == frames
    assert track.xyxy[0] == pytest.approx(box)
    assert (refusal.whole, refusal.remote, refusal.uid) == (False, 3, "u")
    assert re.search(note, refusal.text), refusal.text


def test_what_needs_no_word_is_put_right_without_one():
    (track,), refusals = read(keyframe(15), keyframe(9), keyframe(3, 5, 5, 6, 6), keyframe(12))
    assert not refusals
    assert track.frame.tolist() == [9, 12, 15]
    (track,), _ = read(keyframe(3), keyframe(10))
    assert track.frame.tolist() == [10]


@pytest.mark.parametrize("points", [(4, 4, 4, 4), (11, 12, 1, 2), (1, 2, 3), (0, 0, float("inf"), 1)])
def test_an_end_counts_whatever_its_box(points):
    (track,), refusals = read(keyframe(12), keyframe(14, *points, outside=True))
    assert track.frame.tolist() == [12, 14]
    assert track.outside.tolist() == [False, True]
    assert not refusals


def test_attributes_that_were_given_twice_or_left_out_do_no_harm():
    twice = [{"spec_id": 11, "value": ""}, {"spec_id": 11, "value": "u"}, {"spec_id": 11, "value": "v"}]
    said = [{"spec_id": 12, "value": "left"}, {"spec_id": 12, "value": "right"}, {"spec_id": 99, "value": "x"}]
    (track,), refusals = read(keyframe(12, attributes=said), keyframe(13), attributes=twice)
    assert (track.uid, track.filled, refusals) == ("u", ({"pose": "left"}, {"pose": "left"}), [])


def test_a_loose_box_is_a_track_of_one_frame():
    for frame, frames in ((12, [12, 13]), (19, [19])):
        loose = {**keyframe(frame), "id": 3, "label_id": 1, "source": "manual"}
        (track,), refusals = read(loose=[loose])
        assert (track.frame.tolist(), track.remote, track.source) == (frames, None, "manual")
        assert track.outside.tolist() == [False, True][: len(frames)]
        assert not refusals


def test_what_is_no_box_is_left_out_and_said():
    polygon = {**keyframe(12, 1, 2, 3, 4, 5, 6), "type": "polygon", "id": 1, "label_id": 1}
    strange = {**keyframe(12), "id": 1, "label_id": 8}
    tracks, refusals = read(loose=[polygon, strange, {"type": "rectangle", "label_id": 1}], tags=[{"frame": 14}])
    assert not tracks
    assert not any(one.whole for one in refusals)
    assert ["polygon" in refusals[0].text, "class" in refusals[1].text, "frame 15" in refusals[3].text] == [True] * 3
