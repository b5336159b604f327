"""Reproduces tables of the paper."""

from .style import StyleTransfer
from .tables import STUDIES, Study
from .trials import Findings, Trial, plan, study_test_set

__all__ = ["STUDIES", "Findings", "Study", "StyleTransfer", "Trial", "plan", "study_test_set"]
