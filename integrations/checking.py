"""What a check of the installation finds. A check never raises, and never tells a secret."""

from __future__ import annotations

import functools
import logging
import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import ParamSpec

OK, WARNING, BROKEN = "ok", "warning", "broken"
STATES = (OK, WARNING, BROKEN)

_SECRETS = ("CVAT_TOKEN", "CVAT_PASSWORD", "CVAT_WEBHOOK_SECRET")
P = ParamSpec("P")

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Finding:
    """What one check has found.

    Attributes:
        state: ok, warning (it works, but not all of it) or broken.
        said: what was found, in one line.
        mend: what to do about it, in one line; empty where nothing is wrong.
        check: what was checked, in a word or two; the check's own name.

    Raises:
        ValueError: for a state that there is not, or something wrong without a way to mend it.
    """

    state: str
    said: str
    mend: str = ""
    check: str = ""

    def __post_init__(self) -> None:
        if self.state not in STATES:
            raise ValueError(f"no such state: {self.state!r}")
        if (self.state == OK) == bool(self.mend):
            raise ValueError(f"{self.said!r} is {self.state}: what is wrong has a way to mend it, and nothing else")


def check(name: str) -> Callable[[Callable[P, Finding]], Callable[P, Finding]]:
    """A function that finds something out, as a check of that name: whatever it raises is a finding, too."""

    def named(look: Callable[P, Finding]) -> Callable[P, Finding]:
        @functools.wraps(look)
        def safely(*args: P.args, **kwargs: P.kwargs) -> Finding:
            try:
                found = look(*args, **kwargs)
            except (Exception, SystemExit) as error:
                logger.debug("check %r failed", name, exc_info=True)
                said = f"could not be checked: {type(error).__name__}: {error}"
                found = Finding(BROKEN, said, "spam-plugin --debug doctor says where that came from")
            return Finding(found.state, clean(found.said), clean(found.mend), name)

        return safely

    return named


def clean(text: str) -> str:
    """The same in one line, and without passwords: those of the environment, and those inside of an URL."""
    for name in _SECRETS:
        secret = os.environ.get(name)
        if secret:
            text = text.replace(secret, "***")
    return re.sub(r"(\w://)[^/@\s]*@", r"\1", " ".join(text.split()))
