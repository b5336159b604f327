"""Models that were trained elsewhere, and runs for programs that live elsewhere."""

from .exporting import export_to_pytorch
from .importing import Description, describe, import_checkpoint
from .torch_files import read_torch_file

__all__ = ["Description", "describe", "export_to_pytorch", "import_checkpoint", "read_torch_file"]
