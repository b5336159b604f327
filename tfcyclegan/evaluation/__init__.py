"""Metrics of the field, measured on test pictures: how good a model is.

`Evaluator` measures generators; `fid` and `kid` compare the features of any two sets of pictures.
"""

from .distributions import Kid, diversity, fid, kid
from .evaluator import Evaluator
from .label_maps import Palette, class_scores, label_scores, load_palette
from .metrics import METRICS
from .pairs import similarity
from .pretrained import Pretrained, open_pretrained
from .result import Evaluation
from .segmentation import Segmenter, load_segmenter, train_segmenter
from .tint import tint_shift

__all__ = [
    "METRICS",
    "Evaluation",
    "Evaluator",
    "Kid",
    "Palette",
    "Pretrained",
    "Segmenter",
    "class_scores",
    "diversity",
    "fid",
    "kid",
    "label_scores",
    "load_palette",
    "load_segmenter",
    "open_pretrained",
    "similarity",
    "tint_shift",
    "train_segmenter",
]
