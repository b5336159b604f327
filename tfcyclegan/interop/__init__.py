"""Files of models that were trained elsewhere, and files for programs elsewhere."""

from ..torch_files import read_torch_file
from .description import Description, describe
from .exporting import export_to_pytorch
from .sources import find_networks

__all__ = ["Description", "describe", "export_to_pytorch", "find_networks", "read_torch_file"]
