"""Jobs that hold what a question needs to be seen, and the job that each question goes to."""

from __future__ import annotations

from itertools import pairwise

import hypothesis.strategies as st
import pytest
from hypothesis import given

from spam_plugin.engine.answers import Box
from spam_plugin.engine.desk.push import _would_be
from spam_plugin.engine.desk.windows import Span, cut_video, pin, place_queries, window
from spam_plugin.engine.queries import Query, Question
from spam_plugin.models.errors import InputError

HERE = (10.0, 10.0, 40.0, 60.0)


def ask(question: Question, *frames: int, other: int | None = None, gain: float = 1.0) -> Query:
    boxes = () if question is Question.MISSING else tuple(Box(frame, HERE) for frame in frames)
    others = () if other is None else (Box(other, HERE),)
    return Query("v", question, boxes, others, frames[-1], 3, -1, 0.4, 1, gain)


@given(
    st.integers(2, 3000),
    st.sampled_from([5.0, 10.0, 29.97]),
    st.lists(st.tuples(st.integers(0, 2999), st.integers(1, 90)), max_size=8),
    st.floats(1.0, 30.0),
)
def test_whatever_is_asked_about_a_link_fits_into_one_job(num_frames, rate, links, seconds):
    queries = [
        ask(Question.LINK, first, other=first + gap) for first, gap in links if first + gap < num_frames
    ]  # fmt: skip
    cut = cut_video(num_frames, rate, queries, seconds, seconds / 5)
    spans = [Span(job.id, job.start, job.stop) for job in _would_be(num_frames, cut.segment, cut.overlap)]
    assert spans[0].start == 0
    assert spans[-1].stop == num_frames - 1
    assert all(b.start <= a.stop + 1 for a, b in pairwise(spans))
    by_job = place_queries(queries, spans)
    for span in spans:
        for query in by_job.get(span.job, []):
            first, last = window(query)
            assert span.start <= first <= last <= span.stop
    assert sum(map(len, by_job.values())) == len(queries)


def test_a_question_about_a_whole_track_goes_where_most_of_the_track_is():
    spans = [Span(1, 0, 99), Span(2, 100, 199)]
    query = ask(Question.VALID, 80, 110, 120, 130, 140)
    assert list(place_queries([query], spans)) == [2]


def test_a_question_in_the_overlap_goes_to_the_job_with_more_room_around():
    spans = [Span(1, 0, 99), Span(2, 80, 199)]
    assert list(place_queries([ask(Question.BOX, 83)], spans)) == [1]
    assert list(place_queries([ask(Question.BOX, 97)], spans)) == [2]


def test_questions_are_pinned_to_what_they_are_about():
    span = Span(1, 0, 99)
    assert pin(ask(Question.LINK, 20, other=30), span) == (20, HERE)
    assert pin(ask(Question.VALID, 10, 50, 90), span) == (50, HERE)
    assert pin(ask(Question.MISSING, 70), span) == (70, None)
    assert pin(ask(Question.BOX, 10, 40), span) == (40, HERE)


def test_jobs_as_long_as_their_overlap_cannot_be():
    with pytest.raises(InputError, match="must be longer than"):
        cut_video(100, 10, [], 2.0, 2.0)
