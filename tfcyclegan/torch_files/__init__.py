"""PyTorch's files, read and written without PyTorch."""

from .files import is_torch_file, read_torch_file, write_torch_file

__all__ = ["is_torch_file", "read_torch_file", "write_torch_file"]
