"""Metrics of the field, measured on test pictures: how good a model is.

`Evaluator` measures generators; `fid` and `kid` compare the features of any two sets of pictures.
"""

from .distributions import Kid, diversity, fid, kid
from .evaluator import Evaluator
from .label_maps import Palette, label_scores, load_palette
from .metrics import METRICS
from .pairs import similarity
from .pretrained import Pretrained, open_pretrained
from .result import Evaluation

__all__ = [
    "METRICS",
    "Evaluation",
    "Evaluator",
    "Kid",
    "Palette",
    "Pretrained",
    "diversity",
    "fid",
    "kid",
    "label_scores",
    "load_palette",
    "open_pretrained",
    "similarity",
]
