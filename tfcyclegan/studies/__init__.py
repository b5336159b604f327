"""Reproduces tables of the paper."""

from .ablation import STUDIES, Findings, Study, Trial, paired_test_set, plan

__all__ = ["STUDIES", "Findings", "Study", "Trial", "paired_test_set", "plan"]
