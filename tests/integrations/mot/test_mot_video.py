from __future__ import annotations

import json
import subprocess

import cv2
import pytest
from PIL import Image

from spam_plugin.integrations.mot import video
from spam_plugin.integrations.mot.sequence import open_sequence
from spam_plugin.models.errors import InputError, MissingError


def probe(path):
    entries = "stream=codec_name,pix_fmt,width,height,nb_frames,avg_frame_rate"
    command = ["ffprobe", "-v", "error", "-show_entries", entries, "-of", "json", str(path)]
    return json.loads(subprocess.run(command, capture_output=True, check=True).stdout)["streams"]


@pytest.mark.parametrize("images", [True, False])
@pytest.mark.parametrize("suffix", [".jpg", ".png"])
def test_the_video_is_h264_that_browsers_play_of_the_right_length_and_rate(make_sequence, tmp_path, images, suffix):
    sequence = open_sequence(make_sequence(images=images, suffix=suffix, frameRate="12.5"))
    made = video.encode(sequence, tmp_path / "out" / "walk.mp4")
    assert probe(made.path) == [
        {
            "codec_name": "h264",
            "pix_fmt": "yuv420p",
            "width": 40,
            "height": 26,
            "nb_frames": "5",
            "avg_frame_rate": "25/2",
        }
    ]
    assert (made.width, made.height, made.num_frames, made.frame_rate) == (40, 26, 5, 12.5)
    assert [path.name for path in made.path.parent.iterdir()] == ["walk.mp4"]


def test_each_frame_shows_its_image_and_no_pixel_has_moved(make_sequence, tmp_path):
    sequence = open_sequence(make_sequence(images=True, suffix=".png"))
    made = video.encode(sequence, tmp_path / "walk.mp4")
    capture = cv2.VideoCapture(str(made.path))
    for path in sequence.images:
        _, frame = capture.read()
        image = cv2.imread(str(path))
        difference = abs(frame[:25, :39].astype(int) - image).mean()
        assert difference < 6
    capture.release()


def test_progress_ends_with_all_frames(make_sequence, tmp_path):
    seen = []
    video.encode(open_sequence(make_sequence(images=True)), tmp_path / "walk.mp4", seen.append)
    assert seen == [0, 1, 2, 3, 4, 5]


def test_a_video_of_the_same_images_is_kept_and_one_of_others_made_anew(make_sequence, tmp_path):
    sequence = open_sequence(make_sequence(images=True))
    path = tmp_path / "walk.mp4"
    video.encode(sequence, path)
    first = path.stat().st_mtime_ns
    video.encode(sequence, path)
    assert path.stat().st_mtime_ns == first
    assert cv2.imwrite(str(sequence.images[0]), cv2.imread(str(sequence.images[1])))
    video.encode(sequence, path)
    assert path.stat().st_mtime_ns != first


def test_a_file_of_somebody_else_is_never_replaced(make_sequence, tmp_path):
    path = tmp_path / "walk.mp4"
    path.write_bytes(b"a film of their own")
    with pytest.raises(InputError, match=r"was not made by import-mot; choose another --media-dir"):
        video.encode(open_sequence(make_sequence()), path)
    assert path.read_bytes() == b"a film of their own"


def test_a_truncated_image_leaves_no_video(make_sequence, tmp_path):
    sequence = open_sequence(make_sequence(images=True))
    data = sequence.images[2].read_bytes()
    sequence.images[2].write_bytes(data[:-20])
    with pytest.raises(InputError, match=r"sequence walk, frame 3\): cannot be read"):
        video.encode(sequence, tmp_path / "out" / "walk.mp4")
    assert not (tmp_path / "out").exists()


def test_images_of_a_format_that_cannot_be_encoded_are_named(make_sequence, tmp_path):
    sequence = open_sequence(make_sequence(images=True))
    for path in sequence.images:
        Image.open(path).save(path, format="WEBP")
    with pytest.raises(InputError, match=r"000001\.jpg: is of the format WEBP; images must be JPEG, PNG or BMP"):
        video.encode(sequence, tmp_path / "out" / "walk.mp4")


@pytest.fixture
def fake_ffmpeg(tmp_path, monkeypatch):
    """Puts a script in the place of ffmpeg."""

    def put(body):
        folder = tmp_path / "bin"
        folder.mkdir()
        script = folder / "ffmpeg"
        script.write_text(f"#!/bin/sh\n{body}\n")
        script.chmod(0o755)
        monkeypatch.setenv("PATH", str(folder), prepend=":")

    return put


@pytest.mark.parametrize("images", [True, False])
def test_a_failure_of_ffmpeg_names_the_sequence_and_leaves_nothing(make_sequence, tmp_path, fake_ffmpeg, images):
    fake_ffmpeg('for target; do :; done; echo half > "$target"; echo "No space left on device" >&2; exit 1')
    with pytest.raises(InputError, match=r"sequence walk: ffmpeg failed \(No space left on device\)"):
        video.encode(open_sequence(make_sequence(images=images)), tmp_path / "out" / "walk.mp4")
    assert list((tmp_path / "out").iterdir()) == []


def test_a_video_that_came_out_too_short_is_not_taken(make_sequence, tmp_path, fake_ffmpeg):
    fake_ffmpeg('for target; do :; done; cat > /dev/null; echo "no video" > "$target"')
    with pytest.raises(InputError, match="sequence walk: ffmpeg wrote 0 of 5 frames"):
        video.encode(open_sequence(make_sequence(images=True)), tmp_path / "out" / "walk.mp4")
    assert list((tmp_path / "out").iterdir()) == []


def test_an_interruption_ends_ffmpeg_and_leaves_nothing(make_sequence, tmp_path):
    def interrupt(done):
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        video.encode(open_sequence(make_sequence(images=True)), tmp_path / "out" / "walk.mp4", interrupt)
    assert list((tmp_path / "out").iterdir()) == []


def test_without_ffmpeg_it_is_told_how_to_get_it(make_sequence, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(MissingError, match="ffmpeg is not installed"):
        video.encode(open_sequence(make_sequence()), tmp_path / "walk.mp4")
