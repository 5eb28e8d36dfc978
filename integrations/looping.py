"""``spam_plugin.run``: the loop with people in CVAT, or with a simulated person, as one call."""

from __future__ import annotations

from collections.abc import Callable

from fiftyone.core.collections import SampleCollection

from ..engine.desk.context import SyncReport, SyncSettings
from ..engine.loop import LoopSettings, LoopState, Tell
from ..engine.queries import Budget
from ..models.errors import InputError
from .cvat.reviewer import CvatReviewer
from .cvat.sync import Link
from .fiftyone_.looping import LoopNotes, Reviewer, SimulatedReviewer, Work, loop

REVIEWERS = ("cvat", "simulated")


def run(
    dataset: SampleCollection | str,
    budget: str | Budget = "3.3%",
    rounds: int = 3,
    *,
    reviewer: str = "cvat",
    gt: str | None = None,
    error_rate: float = 0.0,
    wish: float | None = None,
    learn_first: bool = False,
    fill: bool = False,
    work: Work | None = None,
    link: Link | None = None,
    sync: SyncSettings | None = None,
    every: float = 60.0,
    again: bool = False,
    progress: Tell | None = None,
    on_report: Callable[[SyncReport], None] | None = None,
) -> LoopState:
    """Detect, label, choose, ask, wait, take the answers and retrain, until budget, rounds or estimate say stop.

    Killed at any moment, the same call goes on where it was; of a loop that has ended it gives the end again.

    Args:
        dataset: the dataset, or its name.
        budget: of all rounds together: "3.3%" of labelling all by hand, "120 clicks" or "2h", or a ``Budget``.
        rounds: how many at most.
        reviewer: "cvat" for people there, or "simulated" for one who answers from ground truth.
        gt: field of the ground truth, for a simulated person.
        error_rate: share of the simulated answers that are wrong.
        wish: share of wrong boxes, in [0, 1], under which it stops.
        learn_first: train on what the labels are sure of, and use what comes out, before anybody is asked.
        fill: follow objects between and around the boxes that people drew, where the media can be read.
        work: fields, detector, parts that are retrained; None for the defaults.
        link: which field goes to which CVAT server, for people; None for ``work``'s and the environment's.
        sync: of the synchronisation, for people.
        every: seconds from one look at CVAT's jobs to the next.
        again: begin anew, whatever was begun or has ended before; answers and labels stay.
        progress: told the step, the share of it that is done, and what is being done.
        on_report: told what every synchronisation with CVAT did.

    Raises:
        MissingError: for a dataset or field that is not there.
        InputError: for settings that cannot be, a loop that was begun with others, or input that cannot be used.
        DeskError: for a server that cannot be used, or if somebody else works on the same field.
    """
    work = work or Work()
    spend = Budget.parse(budget) if isinstance(budget, str) else budget
    settings = LoopSettings(spend, rounds, wish, learn_first, fill)
    if reviewer not in REVIEWERS:
        raise InputError(f"there is no reviewer {reviewer!r}; there are: {', '.join(REVIEWERS)}")
    if (reviewer == "simulated") != (gt is not None):
        raise InputError("a simulated person answers from ground truth, and nobody else does: name its field, or CVAT")
    if not every > 0:
        raise InputError(f"every {every:g} s is no time to look at CVAT's jobs; it must be more than 0")

    def make(videos: SampleCollection, notes: LoopNotes) -> Reviewer:
        if gt is not None:
            return SimulatedReviewer(videos, work, gt, notes.notes, error_rate)
        return CvatReviewer(link or Link(dataset, work.out, work.view), sync, every, on_report=on_report)

    about = {"gt": gt, "error_rate": error_rate} if gt is not None else {"cvat": True}
    return loop(dataset, settings, work, make, about=about, again=again, progress=progress)
