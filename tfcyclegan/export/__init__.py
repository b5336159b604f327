"""From a trained model to files for servers and devices, each held to an accuracy limit."""

from .exporting import export_model
from .proof import Report

__all__ = ["Report", "export_model"]
