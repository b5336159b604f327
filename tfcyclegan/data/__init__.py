"""Pictures of two domains, from files to the batches that the model takes."""

from .loading import Data, load_data
from .test_set import TestSet, load_test_set

__all__ = [
    "Data",
    "TestSet",
    "load_data",
    "load_test_set",
]
