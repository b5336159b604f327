"""Whether a model is good: the metrics of the field, measured on pictures it has not seen.

`Evaluator` puts them together; `fid` and `kid` compare features of any two sets.
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
