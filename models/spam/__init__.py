"""SPAM: a hierarchy of graph neural networks that decides which candidates are objects and which belong together."""

from .constraints import Constraints
from .decoding import Decisions
from .model import LabelSession, SpamModel
from .settings import LabelSettings

__all__ = ["Constraints", "Decisions", "LabelSession", "LabelSettings", "SpamModel"]
