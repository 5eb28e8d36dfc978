"""SPAM: a hierarchy of graph neural networks that decides which candidates are objects and which belong together."""

from .decoding import Decisions
from .model import LabelSettings, SpamModel

__all__ = ["Decisions", "LabelSettings", "SpamModel"]
