"""Reading pictures of a source into stores."""

import numpy as np
import pytest
from PIL import Image

from tfcyclegan import InputError
from tfcyclegan.data.preprocessing import Preprocessing
from tfcyclegan.data.reading import Reader
from tfcyclegan.data.sources import Picture, find_source
from tfcyclegan.data.store import MemoryBudget


def test_a_reader(folder, caplog):
    prepared = {"A": Preprocessing("crop", 16, channels=1), "B": Preprocessing("crop", 16)}
    reader = Reader(find_source(folder, 16), prepared, MemoryBudget())
    store = reader.read("trainA", training=True)
    assert (len(store), store.size, store[0].shape[2]) == (5, (20, 24), 1)
    assert reader.read("testB").size == (16, 16)

    def bad():
        raise InputError("1: bad")

    pictures = [Picture("0", lambda: Image.new("RGB", (16, 16), "red")), Picture("1", bad)]
    with pytest.raises(InputError, match="1: bad"):
        reader.read("testB", pictures)
    lenient = Reader(reader.source, reader.preparation, reader.budget, skip_bad_images=True)
    store = lenient.read("testB", pictures)
    assert (store.names, lenient.skipped) == (["0"], ["1: bad"])
    assert np.array_equal(store[0][0, 0], [255, 0, 0])
    assert "testB: left out 1 pictures that cannot be used: 1: bad" in caplog.text
    with pytest.raises(InputError, match="testB: none of the pictures can be used"):
        lenient.read("testB", pictures[1:])
