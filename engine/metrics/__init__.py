"""What tracks are worth: HOTA, CLEAR and identity scores from columns of boxes.

Equal to TrackEval 1.3.0, without needing it.
"""

from .clear import Clear
from .hota import Hota
from .identity import Identity
from .preprocessing import DISTRACTORS, PEDESTRIAN
from .scores import VideoScores, combine, evaluate_video
from .tables import TrackTable, TruthTable

__all__ = [
    "DISTRACTORS",
    "PEDESTRIAN",
    "Clear",
    "Hota",
    "Identity",
    "TrackTable",
    "TruthTable",
    "VideoScores",
    "combine",
    "evaluate_video",
]
