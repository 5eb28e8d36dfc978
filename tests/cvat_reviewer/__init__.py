"""A scripted reviewer: edits tracks as CVAT's user interface saves them, and remembers what was meant."""

from .api import Api
from .reviewer import EDITS, Reviewer
from .world import World

__all__ = ["EDITS", "Api", "Reviewer", "World"]
