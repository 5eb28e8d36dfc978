"""The model as users meet it, with the default weights: what holds for any input, and what an easy scene must give."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spam_plugin.models.columns import Candidates, Source, Tracks, VideoInfo
from spam_plugin.models.errors import InputError, MissingError
from spam_plugin.models.spam import LabelSettings, SpamModel, decoding
from spam_plugin.models.synthetic.streams import StreamSettings, simulate_stream

Video = tuple[VideoInfo, Candidates]


@st.composite
def any_video(draw: st.DrawFn) -> Video:
    """Candidates without sense: of any density, size and scale of scores, with duplicates and several classes."""
    rng = np.random.default_rng(draw(st.integers(0, 1 << 32)))
    frames = draw(st.sampled_from([1, 2, 3, 17, 60, 600]))
    count = draw(st.sampled_from([0, 1, 2, 9, 60]))
    frame = np.sort(rng.integers(0, frames, count))
    if draw(st.booleans()):  # as many boxes as may be in a few frames, and nothing between
        frame = np.sort(rng.choice(rng.integers(0, frames, 3), count))
    side = 10.0 ** draw(st.sampled_from([-2, 0, 2, 5])) * np.exp(
        rng.normal(0, draw(st.sampled_from([0.0, 2.0])), (count, 2))
    )
    side = np.minimum(side, 3e5)
    centre = rng.uniform(-0.2, 1.2, (count, 2)) * [640, 480]
    if draw(st.booleans()):  # all near one place
        centre = 300 + rng.normal(0, 0.1, (count, 2)) * side
    xyxy = np.concatenate([centre - side / 2, centre + side / 2], 1)
    if count > 4 and draw(st.booleans()):
        frame[1:4], xyxy[1:4] = frame[0], xyxy[0]
        frame = np.sort(frame)
    xyxy[:, 2:] = np.maximum(xyxy[:, 2:], xyxy[:, :2] + 1e-2)
    kind = draw(st.sampled_from(["constant", "uniform", "normal", "wild"]))
    score = {
        "constant": np.full(count, 0.5), "uniform": rng.random(count), "normal": rng.normal(-50, 10, count),
        "wild": np.exp(rng.normal(0, 20, count)) * rng.choice([-1, 1], count),
    }[kind]  # fmt: skip
    embedding = rng.normal(size=(count, 5)).astype(np.float32) if draw(st.booleans()) else None
    classes = rng.integers(0, draw(st.sampled_from([1, 3, 50])), count)
    info = VideoInfo("any", frames, 640, 480, draw(st.sampled_from([1.0, 7.0, 29.97, 120.0])))
    return info, Candidates(frame, xyxy.astype(np.float32), score.astype(np.float32), classes, embedding)


ANY_SETTINGS = st.builds(
    LabelSettings,
    node_classification=st.booleans(),
    num_levels=st.sampled_from([None, 1, 4]),
    interpolate=st.booleans(),
    smooth=st.booleans(),
    use_embedding=st.booleans(),
    min_boxes=st.integers(1, 3),
    consensus=st.booleans(),
)


def check(info: VideoInfo, candidates: Candidates, tracks: Tracks, wish: LabelSettings) -> None:
    """What every labelled video must be."""
    key = tracks.frame * (tracks.num_tracks + 1) + tracks.track_index
    assert (np.diff(key) > 0).all(), "sorted by frame and track, one box per track and frame"
    assert set(tracks.track_index.tolist()) == set(range(tracks.num_tracks))
    first = np.full(tracks.num_tracks, info.num_frames)
    last = np.full(tracks.num_tracks, -1)
    np.minimum.at(first, tracks.track_index, tracks.frame)
    np.maximum.at(last, tracks.track_index, tracks.frame)
    assert (np.diff(first) >= 0).all(), "numbered in the order of the tracks' first frames"
    assert tracks.frame.max(initial=0) < info.num_frames
    assert np.isfinite(tracks.xyxy).all()
    assert (tracks.xyxy[:, 2:] > tracks.xyxy[:, :2]).all()
    for share in (
        tracks.validity, tracks.uncertainty, tracks.link_uncertainty, tracks.track_validity, tracks.track_uncertainty,
    ):  # fmt: skip
        assert ((share >= 0) & (share <= 1)).all()
    filled = tracks.source == Source.INTERPOLATED
    assert ((tracks.source == Source.MODEL) | filled).all()
    assert wish.interpolate or not filled.any()
    assert (tracks.candidate_index[filled] == -1).all()
    inside = (tracks.frame > first[tracks.track_index]) & (tracks.frame < last[tracks.track_index])
    assert inside[filled].all(), "filled boxes lie between two others of their track"
    row = tracks.candidate_index[~filled]
    assert len(np.unique(row)) == len(row), "no candidate is used twice"
    np.testing.assert_array_equal(candidates.frame[row], tracks.frame[~filled])
    np.testing.assert_array_equal(candidates.class_index[row], tracks.class_index[~filled])
    if not wish.smooth:
        np.testing.assert_array_equal(candidates.xyxy[row], tracks.xyxy[~filled])
    classes = np.unique(np.stack([tracks.track_index, tracks.class_index], 1), axis=0)
    assert len(classes) == tracks.num_tracks, "no track mixes classes"
    own = np.bincount(tracks.track_index[~filled], minlength=tracks.num_tracks)
    assert own.min(initial=wish.min_boxes) >= wish.min_boxes


def equal(one: Tracks, two: Tracks) -> bool:
    return all(np.array_equal(getattr(one, f.name), getattr(two, f.name)) for f in fields(Tracks))


def assert_same_tracks(one: Tracks, two: Tracks, pixels: float = 1e-2) -> None:
    for key in ("frame", "track_index", "class_index", "source", "keyframe", "candidate_index"):
        np.testing.assert_array_equal(getattr(one, key), getattr(two, key))
    np.testing.assert_allclose(one.xyxy, two.xyxy, atol=pixels)
    np.testing.assert_allclose(one.validity, two.validity, atol=1e-3)


@settings(max_examples=40)
@given(video=any_video(), wish=ANY_SETTINGS)
def test_whatever_goes_in_valid_tracks_come_out(model: SpamModel, video: Video, wish: LabelSettings) -> None:
    (tracks,) = model.label([video], wish)
    check(*video, tracks, wish)


@settings(max_examples=10)
@given(videos=st.lists(any_video(), max_size=3))
def test_the_same_input_gives_the_same_labels(model: SpamModel, videos: list[Video]) -> None:
    one, two = model.label(videos), model.label(videos)
    assert len(one) == len(videos)
    assert all(map(equal, one, two))


def test_no_videos_give_no_tracks(model: SpamModel) -> None:
    assert model.label([]) == []


def test_an_empty_video_gives_no_tracks_alone_and_in_company(model: SpamModel, walkers: Callable) -> None:
    empty = (VideoInfo("empty", 60, 100, 100, 25), Candidates.empty())
    assert len(model.label([empty])[0]) == 0
    first, middle, last = model.label([walkers()[:2], empty, walkers()[:2]])
    assert len(middle) == 0
    assert middle.xyxy.shape == (0, 4)
    assert_same_tracks(first, last)


@pytest.mark.parametrize("seed", range(4))
def test_an_easy_scene_is_labelled_without_an_error(model: SpamModel, walkers: Callable, seed: int) -> None:
    info, candidates, who = walkers(seed)
    (tracks,) = model.label([(info, candidates)])
    assert tracks.num_tracks == 3
    assert tracks.track_validity.min() > 0.8
    own = tracks.candidate_index >= 0
    pairs = set(zip(tracks.track_index[own].tolist(), who[tracks.candidate_index[own]].tolist(), strict=True))
    assert len([pair for pair in pairs if pair[1] >= 0]) == 3
    used = np.isin(np.flatnonzero(who >= 0), tracks.candidate_index)
    assert used.mean() > 0.95
    assert len(tracks) >= 0.97 * 3 * info.num_frames


def test_a_video_is_labelled_in_company_as_alone(model: SpamModel, walkers: Callable) -> None:
    wish = StreamSettings(num_frames=(30, 90), density=(3.0, 10.0))
    streams = [simulate_stream(seed, wish) for seed in range(3)]
    videos = [walkers(1)[:2], *((s.info, s.candidates) for s in streams), walkers(2, num_frames=700, objects=2)[:2]]
    for video, tracks in zip(videos, model.label(videos), strict=True):
        assert_same_tracks(model.label([video])[0], tracks)


def test_the_scale_of_scores_does_not_matter(model: SpamModel, walkers: Callable) -> None:
    info, candidates, _ = walkers(3, false=1.0)
    other = replace(candidates, score=candidates.score * 100 + 12.5)
    (one,), (two,) = model.label([(info, candidates)]), model.label([(info, other)])
    assert_same_tracks(one, two)


def test_the_length_of_embeddings_does_not_matter(model: SpamModel, walkers: Callable) -> None:
    info, candidates, who = walkers(3)
    vectors = np.random.default_rng(0).normal(size=(4, 12))[who] + np.random.default_rng(1).normal(
        0, 0.1, (len(who), 12)
    )
    one, two = (
        model.label([(info, replace(candidates, embedding=(vectors * factor).astype(np.float32)))])[0]
        for factor in (1.0, 64.0)
    )
    assert_same_tracks(one, two)
    assert one.num_tracks == 3


def test_embeddings_are_not_read_when_that_is_off(model: SpamModel, walkers: Callable) -> None:
    info, candidates, _ = walkers(3)
    noise = np.random.default_rng(0).normal(size=(len(candidates), 8)).astype(np.float32)
    (without,) = model.label([(info, candidates)])
    (unread,) = model.label([(info, replace(candidates, embedding=noise))], LabelSettings(use_embedding=False))
    assert equal(without, unread)


def test_without_node_classification_more_boxes_stay(model: SpamModel, walkers: Callable) -> None:
    video = walkers(5, false=3.0)[:2]
    (strict,) = model.label([video])
    (lax,) = model.label([video], LabelSettings(node_classification=False, min_boxes=1))
    assert (lax.source == Source.MODEL).sum() == len(video[1])
    assert (strict.source == Source.MODEL).sum() < len(video[1])


def test_classes_are_labelled_apart(model: SpamModel, walkers: Callable) -> None:
    info, candidates, who = walkers(6, false=0.0)
    (tracks,) = model.label([(info, replace(candidates, class_index=10 * who + 7))])
    assert tracks.num_tracks == 3
    assert set(tracks.class_index.tolist()) == {7, 17, 27}


@pytest.mark.parametrize("smooth", [True, False])
def test_an_object_that_crosses_the_border_of_the_top_window_is_one_track(
    model: SpamModel, walkers: Callable, smooth: bool
) -> None:
    info, candidates, who = walkers(7, num_frames=640, start=440, false=0.1)
    (tracks,) = model.label([(info, candidates)], LabelSettings(smooth=smooth))
    near = (candidates.frame >= 500) & (candidates.frame <= 530) & (who >= 0)
    used = np.isin(tracks.candidate_index, np.flatnonzero(near))
    identity = who[tracks.candidate_index[used]]
    assert len(identity) > 0.9 * near.sum()
    assert all(len(np.unique(tracks.track_index[used][identity == n])) == 1 for n in range(3))


@pytest.mark.parametrize("consensus", [True, False])
def test_labels_do_not_depend_on_how_many_boxes_are_taken_at_once(
    model: SpamModel, walkers: Callable, monkeypatch: pytest.MonkeyPatch, consensus: bool
) -> None:
    wish = LabelSettings(consensus=consensus)
    videos = [walkers(9, num_frames=1300, start=100, objects=2)[:2], walkers(10, num_frames=1200, objects=1)[:2]]
    whole = model.label(videos, wish)
    monkeypatch.setattr(decoding, "BLOCK_OF_BOXES", 100)
    for one, two in zip(whole, model.label(videos, wish), strict=True):
        assert_same_tracks(one, two)


def test_a_longer_gap_than_the_cap_stays_open(model: SpamModel, walkers: Callable) -> None:
    info, candidates, _ = walkers(8, miss=0.0, false=0.0)
    seen = (candidates.frame < 25) | (candidates.frame > 34)
    given = Candidates(*(getattr(candidates, f.name)[seen] for f in fields(Candidates)[:4]))
    (filled,) = model.label([(info, given)])
    (short,) = model.label([(info, given)], LabelSettings(max_gap_seconds=9 / 25))
    inside = (filled.frame >= 25) & (filled.frame <= 34)
    assert inside.sum() == 30
    assert (filled.source[inside] == Source.INTERPOLATED).all()
    assert not ((short.frame >= 25) & (short.frame <= 34)).any()


def test_boxes_at_the_ends_of_a_filled_gap_are_keyframes(model: SpamModel, walkers: Callable) -> None:
    info, candidates, _ = walkers(8, miss=0.0, false=0.0)
    seen = (candidates.frame < 25) | (candidates.frame > 34)
    given = Candidates(*(getattr(candidates, f.name)[seen] for f in fields(Candidates)[:4]))
    (tracks,) = model.label([(info, given)])
    assert set(tracks.frame[tracks.keyframe].tolist()) == {24, 35}


def test_a_candidate_behind_the_end_of_its_video_is_named(model: SpamModel, walkers: Callable) -> None:
    info, candidates, _ = walkers(0)
    short = replace(info, num_frames=int(candidates.frame[-1]))
    with pytest.raises(InputError, match=rf"'walkers-0'.*frame {candidates.frame[-1] + 1}.*{short.num_frames} frames"):
        model.label([(short, candidates)])


@pytest.mark.parametrize(
    "wrong",
    [{"num_levels": 0}, {"num_levels": 10}, {"max_gap_seconds": -1}, {"max_gap_seconds": np.nan}, {"min_boxes": 0}],
)
def test_settings_out_of_range_are_named(wrong: dict) -> None:
    with pytest.raises(InputError, match=next(iter(wrong))):
        LabelSettings(**wrong)


def test_a_missing_weights_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(MissingError, match=r"gone\.safetensors"):
        SpamModel.load(tmp_path / "gone.safetensors")


@pytest.mark.parametrize("content", [b"", b"not weights at all", b"\x08\0\0\0\0\0\0\0{}      "])
def test_a_file_that_holds_no_weights_is_named(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "wrong.safetensors"
    file.write_bytes(content)
    with pytest.raises(InputError, match=r"wrong\.safetensors"):
        SpamModel.load(file)


def test_a_truncated_weights_file_is_named(tmp_path: Path, model: SpamModel) -> None:
    model.save(tmp_path / "whole.safetensors")
    (tmp_path / "half.safetensors").write_bytes((tmp_path / "whole.safetensors").read_bytes()[:-1000])
    with pytest.raises(InputError, match=r"half\.safetensors"):
        SpamModel.load(tmp_path / "half.safetensors")


def test_a_saved_model_labels_as_before(tmp_path: Path, model: SpamModel, walkers: Callable) -> None:
    model.save(tmp_path / "new" / "model.safetensors")
    again = SpamModel.load(str(tmp_path / "new" / "model.safetensors"))
    assert again.version == model.version
    assert again.decisions == model.decisions
    video = walkers(4, false=1.0)[:2]
    assert equal(model.label([video])[0], again.label([video])[0])


def test_tracks_of_two_classes_and_two_videos_stay_apart_at_any_frame_rate(model):
    frame, kind = np.repeat(np.arange(512), 2), np.tile([0, 1], 512)
    box = np.tile([100, 100, 150, 200.0], (1024, 1)) + np.random.default_rng(1).normal(0, 1, (1024, 4))
    candidates = Candidates(frame, box.astype("f4"), np.full(1024, 0.5, "f4"), kind)
    video = VideoInfo("fast", 512, 640, 480, 240.0)
    both = model.label([(video, candidates), (video, candidates)])
    assert [tracks.num_tracks for tracks in both] == [2, 2]


def test_a_video_without_candidates_but_with_an_embedding_column_has_no_tracks(model):
    nothing = Candidates(*(np.zeros(shape, kind) for shape, kind in ((0, "i8"), ((0, 4), "f4"), (0, "f4"), (0, "i8"))),
                         np.zeros((0, 5), "f4"))  # fmt: skip
    assert len(model.label([(VideoInfo("empty", 5, 64, 48, 25.0), nothing)])[0]) == 0


def test_scores_as_far_apart_as_single_precision_allows_are_only_scores(model, walkers):
    video, candidates, _ = walkers()
    wild = np.where(candidates.score > np.median(candidates.score), 3e38, -3e38).astype("f4")
    wilder = Candidates(candidates.frame, candidates.xyxy, wild, candidates.class_index)
    assert model.label([(video, wilder)])[0].num_tracks > 0


def test_boxes_beyond_any_image_are_refused_with_their_frame():
    with pytest.raises(InputError, match="frame 3"):
        Candidates(np.array([3]), np.array([[0, 0, 1e9, 10]], "f4"), np.ones(1, "f4"), np.zeros(1, "i8"))


def test_a_video_of_which_nothing_is_believed_has_no_tracks(model):
    doubtful = SpamModel(model.network, replace(model.decisions, drop=0.999), "doubtful")
    box = np.array([[100, 100, 150, 200]], "f4")
    candidates = Candidates(np.array([14]), box, np.ones(1, "f4"), np.zeros(1, "i8"))
    tracks = doubtful.label([(VideoInfo("v", 600, 640, 480, 25.0), candidates)], LabelSettings(min_boxes=1))[0]
    assert (len(tracks), tracks.num_tracks) == (0, 0)
