"""What a notebook calls, as ``spam_plugin.evaluate`` and the like."""

from .evaluate import Evaluation, evaluate

__all__ = ["Evaluation", "evaluate"]
