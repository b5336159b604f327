"""From a trained model to files for servers and devices, with proof that they are equal."""

from .exporting import export_model
from .proof import Report

__all__ = ["Report", "export_model"]
