"""Translates picture files with a generator in any of its forms."""

from .drawing import parse_size
from .pipeline import Job, find_pictures, translate_files

__all__ = ["Job", "find_pictures", "parse_size", "translate_files"]
