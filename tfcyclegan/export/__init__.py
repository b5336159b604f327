"""From a trained model to files that a server and a phone take, with proof that they are it."""

from .exporting import export_generators

__all__ = ["export_generators"]
