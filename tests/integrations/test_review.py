import fiftyone as fo
import numpy as np
import pytest

from spam_plugin.engine.answers import Answer, Box, Verdict
from spam_plugin.engine.queries import Query, Question
from spam_plugin.engine.simulation import Plan
from spam_plugin.integrations.fiftyone_ import api
from spam_plugin.integrations.fiftyone_.answers import AnswerBook
from spam_plugin.integrations.fiftyone_.queries import load_queries, shown_boxes
from spam_plugin.models.errors import InputError, MissingError

QUIET = {"progress": False}


def valid(video, frame=0, left=0.0, **more):
    return Answer(video, Verdict.VALID, (Box(frame, (left, 0.0, left + 5, 5.0)),), **more)


def doubtful(world):
    """A car that moves, and something that is seen now and then."""
    return {
        t: [world.box(10 + 4 * t, 10, 20, 20), *([world.box(60, 20, 10, 20, score=0.4)] if t != 1 else [])]
        for t in range(4)
    }


def test_thousands_of_answers_are_kept_once_and_come_back_in_one_order(video_dataset, world):
    dataset = video_dataset(a={}, b={})
    a, b = dataset.values("id")
    many = [valid(a, frame, left) for frame in range(40) for left in range(30)] + [valid(b)]
    book = AnswerBook(dataset, "spam_tracks")
    assert book.add(many[:700], [a, b]) == 700
    assert book.add(reversed(many), [a, b]) == len(many) - 700
    assert book.add(many, [a, b]) == 0
    again = AnswerBook(fo.load_dataset(dataset.name), "spam_tracks")
    assert set(again.all()) == set(many)
    assert again.of(b) == (many[-1],)
    keys = [answer.key for answer in again.of(a)]
    assert keys == sorted(keys)
    assert AnswerBook(dataset, "other_tracks").all() == ()


def test_nothing_is_kept_where_one_answer_is_about_another_video(video_dataset):
    dataset = video_dataset(a={})
    video = dataset.first().id
    with pytest.raises(InputError, match=r"no video 'elsewhere'.*2 answers.*nothing was kept"):
        api.answer(dataset, [valid(video), valid("elsewhere"), valid("elsewhere", 1)])
    assert AnswerBook(dataset, "spam_tracks").all() == ()
    report = api.answer(dataset.name, [valid(video), valid(video)])
    assert (report.new, report.known, report.videos) == (1, 1, 1)
    with pytest.raises(InputError, match="cannot be the name"):
        api.answer(dataset, [valid(video)], out="my tracks")


def test_an_answer_makes_an_interrupted_run_label_its_video_again(video_dataset, world, monkeypatch):
    import spam_plugin.engine.label as engine_label

    class Model(world.Model):
        def label(self, videos, settings=None, constraints=None):
            return super().label(videos, settings)

    monkeypatch.setattr(engine_label, "BOXES_PER_CALL", 1)
    dataset = video_dataset(a=world.frames(), b=world.frames(), c=world.frames())
    with pytest.raises(KeyboardInterrupt):
        api.label(dataset, model=Model(fail_at="c"), **QUIET)
    api.answer(dataset, [Answer(dataset.first().id, Verdict.VALID, (Box(0, (10.0, 10.0, 30.0, 30.0)),))])
    again = Model()
    report = api.label(dataset, model=again, **QUIET)
    assert again.asked == ["a", "c"]
    assert [video.answers for video in report.videos] == [1, 0, 0]


def test_the_questions_of_a_round_come_back_as_they_were(video_dataset, world, model):
    dataset = video_dataset(a=doubtful(world), b=doubtful(world))
    with pytest.raises(MissingError, match="has no questions about 'spam_tracks'; make them with spam-plugin queries"):
        load_queries(dataset, "spam_tracks")
    plan = api.queries(dataset, budget="10 clicks", model=model, **QUIET)
    assert plan.queries
    assert load_queries(dataset, "spam_tracks") == list(plan.queries)
    assert {query.video for query in plan.queries} == set(dataset.values("id"))
    assert dataset.values("spam_open_queries") == [
        sum(query.video == key for query in plan.queries) for key in dataset.values("id")
    ]
    gains = dataset.load_saved_view("open queries").values("spam_expected_gain")
    assert gains == sorted(gains, reverse=True)


def test_questions_about_images_lie_on_the_images(image_dataset, video_dataset, world, model):
    images, videos = image_dataset(a=doubtful(world)), video_dataset(a=doubtful(world))
    plans = [api.queries(dataset, budget="8 clicks", model=model, **QUIET) for dataset in (images, videos)]
    assert [(q.question, q.boxes, q.gain) for q in plans[0].queries] == [
        (q.question, q.boxes, q.gain) for q in plans[1].queries
    ]
    shown = {number: frame.spam_queries for number, frame in videos.first().frames.items()}
    for sample in images:
        found = shown[sample.frame_number]
        assert [box.bounding_box for box in sample.spam_queries.detections] == [
            box.bounding_box for box in (found.detections if found else [])
        ]
    assert set(images.values("spam_open_queries")) == {len(plans[0].queries)}
    query = plans[0].queries[0]
    api.answer(images, [Answer(query.video, Verdict.VALID, (Box(0, (10.0, 10.0, 30.0, 30.0)),), query=query.key)])
    assert query.key not in images.distinct("spam_queries.detections.query")
    assert set(images.values("spam_open_queries")) == {len(plans[0].queries) - 1}


def test_only_the_videos_of_a_view_are_asked_about(video_dataset, world, model):
    dataset = video_dataset(a=doubtful(world), b=doubtful(world))
    api.queries(dataset, budget="6 clicks", model=model, view=dataset.limit(1), **QUIET)
    first, second = dataset.values("spam_open_queries")
    assert first > 0
    assert second is None
    assert len(dataset.load_saved_view("open queries")) == 1
    api.queries(dataset, budget="6 clicks", model=model, view=dataset.skip(1), **QUIET)
    assert dataset.values("spam_open_queries")[0] == first
    assert len(dataset.load_saved_view("open queries")) == 2


def test_a_video_that_cannot_be_read_is_left_out_of_the_questions(video_dataset, world, model):
    dataset = video_dataset(good=doubtful(world), corrupt=doubtful(world))
    sample = dataset.last()
    sample.metadata = None
    sample.save()
    with pytest.raises(InputError, match=r"'corrupt'.*cannot be read"):
        api.queries(dataset, model=model, **QUIET)
    assert not dataset.list_runs()
    plan = api.queries(dataset, budget="5 clicks", model=model, skip_bad=True, **QUIET)
    assert list(plan.skipped) == ["corrupt"]
    assert dataset.values("spam_open_queries") == [len(plan.queries), 0]


def test_a_person_sees_the_boxes_that_a_question_is_about():
    def query(question, boxes=(), others=()):
        return Query("v", question, tuple(boxes), tuple(others), 3, -1, 0, 0.5, 1, 1.0)

    track = [Box(t, (t, 0, t + 5, 5)) for t in range(5)]
    other = [Box(t, (t, 9, t + 5, 14)) for t in (7, 8)]
    shown = {
        "valid": query(Question.VALID, track),
        "one box": query(Question.VALID, track[:1]),
        "link": query(Question.LINK, track, other),
        "box": query(Question.BOX, [track[1], track[1]]),
        "missing": query(Question.MISSING),
    }
    assert {name: list(shown_boxes(one, 100, 50)) for name, one in shown.items()} == {
        "valid": [track[0], track[2], track[4]],
        "one box": [track[0]],
        "link": [track[4], other[0]],
        "box": [track[1]],
        "missing": [Box(3, (0, 0, 100, 50))],
    }


def with_truth(dataset, world):
    """The same dataset with the car's ground truth."""
    from spam_plugin.integrations.fiftyone_.raw import declare_detections, write_frame_labels, write_image_labels

    path = "frames.truth" if dataset.media_type == "video" else "truth"
    declare_detections(dataset, path)
    boxes = {t: [world.box(10 + 4 * t, 11, 20, 20, index=1)] for t in range(4)}
    if dataset.media_type == "video":
        write_frame_labels(dataset, dataset.first().id, "truth", {t + 1: found for t, found in boxes.items()})
    else:
        write_image_labels(dataset, "truth", {sample.id: boxes[sample.frame_number - 1] for sample in dataset})
    return dataset


def test_images_and_videos_have_the_same_effort_curve(image_dataset, video_dataset, world, model):
    plan = Plan(budgets=(0.0, 20.0))
    datasets = [with_truth(make(a=doubtful(world)), world) for make in (image_dataset, video_dataset)]
    curves = [
        [point.as_dict() for point in api.simulate(dataset, "truth", model=model, plan=plan)] for dataset in datasets
    ]
    assert curves[0] == curves[1]
    assert curves[0][1]["clicks"] > 0
    assert np.isfinite([point["HOTA"] for point in curves[0]]).all()


def test_candidates_that_are_left_out_do_not_make_the_ground_truth_longer(video_dataset, world, model):
    dataset = with_truth(video_dataset(a={**doubtful(world), 9: [world.box(1, 1, 5, 5)]}), world)
    with pytest.raises(InputError, match=r"frame 10, .*beyond the end"):
        api.simulate(dataset, "truth", model=model, plan=Plan(budgets=(0.0,)))
    (point,) = api.simulate(dataset, "truth", model=model, plan=Plan(budgets=(0.0,)), skip_bad=True)
    assert point.clicks == 0
