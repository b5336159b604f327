"""Picture files in, translated picture files out, whatever form the generator is in."""

from .files import Job, find_pictures, parse_size, translate_files

__all__ = ["Job", "find_pictures", "parse_size", "translate_files"]
