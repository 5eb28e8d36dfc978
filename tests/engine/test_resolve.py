"""What answers come to: what holds, and what is reported of the rest."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from spam_plugin.engine.answers import Answer, Box, Verdict
from spam_plugin.engine.resolve import Problem, Resolution, resolve
from spam_plugin.models.spam.constraints import EVER

CLASSES = ("person", "car")


def told(world, *answers: Answer) -> Resolution:
    return resolve(answers, world.info, world.candidates, CLASSES)


def one_problem(found: Resolution) -> Problem:
    (problem,) = found.problems
    return problem


def drawn(world, frame: int, x: float, of: str = "new") -> Answer:
    return Answer(world.info.name, Verdict.BOX, drawn=Box(frame, (x, 5.0, x + 40, 95.0)), object=of)


def test_no_answers_are_no_constraints(world) -> None:
    found = told(world)
    assert found.constraints.said_nothing
    assert (found.problems, found.applied) == ((), 0)


def test_of_two_that_contradict_each_other_the_later_holds_and_both_are_named(world) -> None:
    row = world.row(0, 3)
    found = told(world, world.say("valid", row, source="anna", when=1), world.say("invalid", row, source="bob", when=2))
    problem = one_problem(found)
    assert problem.kind == "contradiction"
    assert (problem.answer.source, problem.other.source) == ("anna", "bob")
    assert "answer 'valid' of anna" in problem.text
    assert "answer 'invalid' of bob holds" in problem.text
    assert "frame 4" in problem.text
    assert found.constraints.verdict[row] == -1
    assert found.applied == 1


def test_who_says_something_else_later_only_corrects_themselves(world) -> None:
    row = world.row(0, 3)
    found = told(
        world, world.say("valid", row, source="anna", when=1), world.say("invalid", row, source="anna", when=2)
    )
    assert one_problem(found).kind == "superseded"
    assert found.constraints.verdict[row] == -1


def test_what_two_people_say_holds_against_one_who_says_it_later(world) -> None:
    row = world.row(0, 3)
    many = [world.say("valid", row, source=name, when=1) for name in ("anna", "bob")]
    found = told(world, *many, world.say("invalid", row, source="carl", when=9))
    assert found.constraints.verdict[row] == 1
    assert one_problem(found).answer.source == "carl"
    assert found.applied == 2


def test_the_same_answer_twice_counts_once(world) -> None:
    row = world.row(0, 3)
    valid = world.say("valid", row, source="anna", when=1)
    found = told(world, valid, valid, valid, world.say("invalid", row, source="bob", when=2))
    assert found.constraints.verdict[row] == -1
    assert len(found.problems) == 1
    assert told(world, valid, valid).applied == 1


def test_boxes_that_are_one_object_through_others_cannot_be_different(world) -> None:
    a, b, c = (world.row(0, frame) for frame in (1, 5, 9))
    together = [world.say("same", a, b, source="anna", when=3), world.say("same", b, c, source="bob", when=3)]
    found = told(world, *together, world.say("different", a, c, source="carl", when=1))
    problem = one_problem(found)
    assert problem.answer.source == "carl"
    assert problem.other.source in ("anna", "bob")
    assert len(set(found.constraints.object_index[[a, b, c]].tolist())) == 1
    assert not len(found.constraints.apart)
    found = told(world, *together, world.say("different", a, c, source="carl", when=4))
    assert len(found.problems) == 1
    assert len(found.constraints.apart) == 1


def test_an_object_has_one_box_a_frame(world) -> None:
    problem = one_problem(told(world, world.say("same", world.row(0, 3), world.row(1, 3), source="anna")))
    assert (problem.kind, problem.other) == ("contradiction", None)
    assert "two boxes in frame 4" in problem.text
    chain = [world.say("same", world.row(0, 3), world.row(2, 7)), world.say("same", world.row(2, 7), world.row(1, 3))]
    assert one_problem(told(world, *chain)).other in chain


def test_a_box_is_not_different_from_itself(world) -> None:
    row = world.row(0, 3)
    assert one_problem(told(world, world.say("different", row, row))).kind == "contradiction"


def test_a_box_that_is_one_of_an_object_is_not_invalid(world) -> None:
    a, b = world.row(0, 1), world.row(0, 2)
    same, wrong = world.say("same", a, b, when=2, source="anna"), world.say("invalid", b, when=1, source="bob")
    found = told(world, same, wrong)
    assert (one_problem(found).answer, one_problem(found).other) == (wrong, same)
    assert (found.constraints.verdict[[a, b]] >= 0).all()
    found = told(world, same, replace(wrong, when=3.0))
    assert one_problem(found).other.source == "bob"
    assert found.constraints.verdict[b] == -1
    assert found.constraints.object_index[b] == -1


def test_a_box_that_is_no_candidate_any_more_is_lost_and_the_others_hold(world) -> None:
    gone = Box(4, (700.0, 20.0, 750.0, 140.0))
    answer = Answer(world.info.name, Verdict.INVALID, (world.box(0), gone), source="anna")
    found = told(world, answer)
    problem = one_problem(found)
    assert (problem.kind, problem.other) == ("lost", None)
    assert "anna" in problem.text
    assert "frame 5" in problem.text
    assert "700.0" in problem.text
    assert found.constraints.verdict[0] == -1
    assert found.applied == 0


@pytest.mark.parametrize("verdict", ["valid", "ends", "box"])
def test_an_answer_about_a_frame_behind_the_end_is_reported_and_not_used(world, verdict: str) -> None:
    beyond = Box(world.info.num_frames, (0.0, 0.0, 9.0, 9.0))
    rest = {"drawn": beyond} if verdict == "box" else {}
    boxes = (world.box(0),) if verdict == "box" else (world.box(0), beyond)
    found = told(world, Answer(world.info.name, Verdict(verdict), boxes, **rest))
    assert one_problem(found).kind == "outside"
    assert f"frame {world.info.num_frames + 1}" in one_problem(found).text
    assert found.constraints.said_nothing


def test_answers_about_other_candidates_are_found_again_by_geometry(world) -> None:
    answers = [world.say("invalid", world.row(1, 2)), world.say("same", world.row(0, 4), world.row(0, 8))]
    moved = replace(world.candidates, xyxy=world.candidates.xyxy + np.float32(4))
    found = resolve(answers, world.info, moved)
    assert found.matched_by_geometry == 3
    assert not found.problems
    assert found.constraints.verdict[world.row(1, 2)] == -1
    assert found.constraints.object_index[world.row(0, 4)] == found.constraints.object_index[world.row(0, 8)] >= 0
    exact = told(world, *answers)
    assert exact.matched_by_geometry == 0
    np.testing.assert_array_equal(exact.constraints.object_index, found.constraints.object_index)


def test_answers_that_are_not_found_again_are_reported_one_by_one(world) -> None:
    answers = [world.say("invalid", world.row(who, 2)) for who in range(3)]
    far = replace(world.candidates, xyxy=world.candidates.xyxy + np.float32(70))
    found = resolve(answers, world.info, far)
    assert {problem.answer for problem in found.problems} == set(answers)
    assert {problem.kind for problem in found.problems} == {"lost"}
    assert (found.applied, found.constraints.said_nothing) == (0, True)


def test_a_class_that_candidates_do_not_have_is_named_with_those_that_they_have(world) -> None:
    found = told(world, world.say("class", 0, label="dog"))
    assert "'dog'" in one_problem(found).text
    assert "'person', 'car'" in one_problem(found).text
    assert (told(world, world.say("class", 0, label="car")).constraints.class_index[0]) == 1


def test_two_classes_of_one_object_contradict_each_other(world) -> None:
    a, b = world.row(0, 1), world.row(0, 5)
    said = [world.say("class", a, label="car", source="anna", when=2), world.say("class", b, label="person", when=1)]
    assert not told(world, *said).problems
    found = told(world, *said, world.say("same", a, b, when=0))
    assert one_problem(found).other.source == "anna"
    assert found.constraints.class_index[[a, b]].tolist() == [1, 1]


def test_an_object_that_leaves_and_comes_back_is_seen_in_two_stretches(world) -> None:
    rows = [world.row(0, frame) for frame in (2, 6, 20, 30)]
    found = told(
        world, world.say("same", *rows), world.say("ends", rows[1], rows[1]), world.say("starts", rows[2], rows[2])
    )
    assert not found.problems
    said = found.constraints
    assert len(set(said.object_index[rows].tolist())) == 1
    one, two, three, four = said.stretch_index[rows].tolist()
    assert one == two != three == four
    assert said.latest[rows].tolist() == [6, 6, EVER, EVER]
    assert said.earliest[rows].tolist() == [-EVER, -EVER, 20, 20]
    assert said.absent[:, 1].tolist() == [7, 19]


def test_what_ends_before_its_own_box_contradicts_itself(world) -> None:
    problem = one_problem(told(world, world.say("ends", world.row(0, 9), world.row(0, 4))))
    assert (problem.kind, problem.other) == ("contradiction", None)
    assert "frame 5" in problem.text


def test_an_object_is_not_absent_where_it_has_a_box(world) -> None:
    a, b = world.row(0, 4), world.row(0, 8)
    same = world.say("same", a, b, source="anna", when=2)
    found = told(world, same, world.say("absent", a, b, source="bob", when=1))
    assert (one_problem(found).answer.source, one_problem(found).other) == ("bob", same)
    assert not len(found.constraints.absent)


def test_boxes_drawn_under_one_name_are_one_object(world) -> None:
    found = told(world, drawn(world, 3, 800), drawn(world, 9, 830), drawn(world, 9, 600, "other"))
    said = found.constraints
    names = dict(zip(said.xyxy[:, 0].tolist(), said.object_index[-3:].tolist(), strict=True))
    assert names[800.0] == names[830.0] != names[600.0]
    assert said.frame.tolist().count(9) == 2
    both = told(world, drawn(world, 3, 800), drawn(world, 3, 830))
    assert "two boxes in frame 4" in one_problem(both).text
    assert len(both.constraints.frame) == 1


def test_a_box_drawn_onto_a_candidate_is_that_candidate_unless_somebody_spoke_of_it(world) -> None:
    row = world.row(0, 7)
    near = Box(7, tuple(side + 2 for side in world.box(row).xyxy))
    onto = world.say("box", world.row(0, 3), drawn=near)
    said = told(world, onto).constraints
    assert said.object_index[row] == said.object_index[-1] == said.object_index[world.row(0, 3)]
    spoken = told(world, onto, world.say("invalid", row)).constraints
    assert spoken.object_index[row] == -1
    assert spoken.verdict[row] == -1


def test_objects_that_have_boxes_in_one_frame_are_apart(world) -> None:
    box = [Box(20, (x, 700.0, x + 40, 800.0)) for x in (600.0, 800.0)]
    said = told(world, *(world.say("box", world.row(0, f), drawn=b) for f, b in zip((5, 9), box, strict=True)))
    assert said.constraints.apart.tolist() == [[world.row(0, 5), world.row(0, 9)]]


def test_all_pairs_of_objects_that_are_apart_stay_so_when_they_grow(worlds: Callable) -> None:
    world = worlds(1)
    a, b, c, d = (world.row(0, frame) for frame in (1, 5, 9, 13))
    found = told(world, world.say("different", a, c), world.say("same", a, b), world.say("same", c, d))
    assert not found.problems
    clash = told(world, world.say("different", a, c, when=5), world.say("same", a, b), world.say("same", b, c))
    assert one_problem(clash).kind == "superseded"
    assert one_problem(clash).other.verdict is Verdict.DIFFERENT
