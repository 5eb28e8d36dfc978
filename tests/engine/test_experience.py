"""What answers teach about questions that are still open."""

from spam_plugin.engine.answers import Answer, Box, Verdict
from spam_plugin.engine.experience import learn
from spam_plugin.models.columns import VideoInfo

INFO = VideoInfo("v", 100, 1000, 1000, 10.0)
SIDES = (400.0, 400.0, 450.0, 500.0)  # far from the border


def ends(asked: int, at: int) -> Answer:
    return Answer("v", Verdict.ENDS, (Box(asked, SIDES), Box(at, SIDES)))


def lacking(answers: list[Answer], filled: bool = False) -> float:
    return learn(answers, INFO, filled).missing_at_end[0]


def test_what_ends_lacked_so_far_is_what_others_are_expected_to_lack():
    usual = lacking([])
    assert lacking([ends(30, 90)]) > usual
    assert lacking([ends(30, 30)]) < usual


def test_an_end_that_a_tracker_had_followed_teaches_nothing_of_those_that_it_had_not():
    drawn = Answer("v", Verdict.BOX, (Box(20, SIDES),), drawn=Box(30, SIDES))
    said = [drawn, ends(30, 90)]
    assert lacking(said) > lacking([drawn])
    assert lacking(said, filled=True) == lacking([drawn])
    assert lacking([drawn, ends(50, 90)], filled=True) == lacking([drawn, ends(50, 90)]) > lacking([drawn])
    assert lacking([drawn, ends(30, 30)], filled=True) < lacking([drawn])  # there it was followed to nowhere else
