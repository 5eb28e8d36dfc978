"""Questions to a person, each with what it costs and what its answer is expected to be worth."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from enum import Enum
from hashlib import blake2b
from typing import Any

from ..models.errors import InputError
from .answers import Box, Verdict


class Question(str, Enum):
    """What is asked.

    VALID: are these boxes one object, all the way? LINK: does the first go on as the other, or is it another object?
    BOX: draw the object of the first box in the frame of the last one. START and END: draw the first, or the last, box
    that this object has. MISSING: is there an object in this frame that has no track? Draw it.
    """

    VALID = "valid"
    LINK = "link"
    BOX = "box"
    START = "start"
    END = "end"
    MISSING = "missing"


# Clicks (SPAM, section on the annotation budget): to accept, reject or associate is one, to draw or refine a box two.
COST: Mapping[Question, int] = {
    Question.VALID: 1, Question.LINK: 1, Question.BOX: 2, Question.START: 2, Question.END: 2, Question.MISSING: 2
}  # fmt: skip


def teaches(question: Question, verdict: Verdict) -> bool:
    """Whether an answer says if the model was right in what it was asked about."""
    links, objects = (Verdict.SAME, Verdict.DIFFERENT), (Verdict.VALID, Verdict.INVALID)
    return verdict in {Question.LINK: links, Question.VALID: objects}.get(question, ())


@dataclass(frozen=True)
class Query:
    """One question about one video.

    Attributes:
        video: key of the video in its store.
        question: what is asked.
        boxes: what it is asked about, in the order of their frames; empty for MISSING.
        others: for LINK, the boxes of the other tracklet; else empty.
        frame: 0-based, where a person is to look.
        track: index of the label's track that the boxes are in, or -1.
        level: level of the hierarchy that the decision belongs to; -1 for boxes, the seam level last.
        probability: the model's, calibrated, that the answer is yes.
        cost: clicks that an answer takes; for MISSING, that drawing one box takes.
        gain: boxes that an answer is expected to put right.
        belief: the model's probability before any answer moved it, of what answers can teach about; None for nothing.
    """

    video: str
    question: Question
    boxes: tuple[Box, ...]
    others: tuple[Box, ...]
    frame: int
    track: int
    level: int
    probability: float
    cost: int
    gain: float
    belief: float | None = None

    @property
    def key(self) -> str:
        """The same for the same question about the same boxes, whatever the model thinks of it."""
        about = [self.video, self.question.value, self.frame, [(b.frame, b.xyxy) for b in self.boxes + self.others]]
        return blake2b(repr(about).encode(), digest_size=12).hexdigest()

    @property
    def frames(self) -> tuple[int, int]:
        """First and last frame, 0-based, that a person has to look at."""
        of = [self.frame, *(box.frame for box in self.boxes + self.others)]
        return min(of), max(of)

    @property
    def text(self) -> str:
        """The question in words; frames count from 1, as people see them."""
        name = f"track {self.track + 1}" if self.track >= 0 else "this"
        believed = f"(model: {self.probability:.0%})"
        last = self.boxes[-1].frame + 1 if self.boxes else 0
        if self.question is Question.VALID:
            return f"Is {name} one object, all the way? {believed}"
        if self.question is Question.LINK:
            return f"Does {name} of frame {last} go on as the box of frame {self.others[0].frame + 1}? {believed}"
        if self.question is Question.BOX:
            return f"Draw the object of {name} in frame {self.frame + 1}."
        if self.question is Question.START:
            return (
                f"Where does the object of {name} appear first? Draw it there; now it starts in frame {self.frame + 1}."
            )
        if self.question is Question.END:
            return f"Where is the object of {name} seen last? Draw it there; now it ends in frame {self.frame + 1}."
        return (
            f"Is there an object without a track in frame {self.frame + 1}? "
            "Draw it where it appears and where it leaves."
        )

    def as_dict(self) -> dict[str, Any]:
        """Plain values, as JSON wants them; frames count from 0."""
        return {**asdict(self), "question": self.question.value, "key": self.key, "text": self.text}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Query:
        """The question of ``as_dict``."""

        def boxes(name: str) -> tuple[Box, ...]:
            return tuple(Box(box["frame"], tuple(box["xyxy"])) for box in values[name])

        rest = {k: v for k, v in values.items() if k not in ("question", "boxes", "others", "key", "text")}
        return cls(question=Question(values["question"]), boxes=boxes("boxes"), others=boxes("others"), **rest)


@dataclass(frozen=True)
class Budget:
    """What one round of review may cost.

    Attributes:
        amount: a number of ``unit``.
        unit: "%" of the clicks that labelling everything by hand takes, "clicks", or "hours".
        clicks_per_hour: a person's rate, for hours.

    Raises:
        InputError: for an amount that is not positive, or over 100 %.
    """

    amount: float
    unit: str
    clicks_per_hour: float = 1200.0

    def __post_init__(self) -> None:
        if self.unit not in ("%", "clicks", "hours"):
            raise InputError(f"budget unit {self.unit!r} is none of %, clicks, hours")
        if not (0 < self.amount < float("inf")) or not (0 < self.clicks_per_hour < float("inf")):
            raise InputError(f"a budget of {self.amount:g} {self.unit} cannot be spent; it must be more than 0")
        if self.unit == "%" and self.amount > 100:
            raise InputError(f"a budget of {self.amount:g} % is more than labelling everything by hand (100 %)")

    @classmethod
    def parse(cls, text: str, clicks_per_hour: float = 1200.0) -> Budget:
        """The budget of "3.3%", "120" or "120 clicks", "2h" or "2 hours".

        Raises:
            InputError: for anything else.
        """
        words = text.strip().lower()
        endings = {"%": "%", "clicks": "clicks", "click": "clicks", "hours": "hours", "hour": "hours", "h": "hours"}
        ending = next((one for one in endings if words.endswith(one)), "")
        number, unit = words.removesuffix(ending).strip(), endings.get(ending, "clicks")
        try:
            amount = float(number)
        except ValueError:
            raise InputError(f"budget {text!r}: write 3.3% (of labelling all by hand), 120 clicks, or 2h") from None
        return cls(amount, unit, clicks_per_hour)

    def clicks(self, boxes: float) -> int:
        """How many clicks it allows for, where labelling by hand means ``boxes`` boxes at three clicks each."""
        share = {"%": 3 * boxes * self.amount / 100, "clicks": self.amount, "hours": self.amount * self.clicks_per_hour}
        return int(share[self.unit] + 1e-9)
