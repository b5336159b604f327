"""The restricted unpickler. test_files.py has whole files, hostile ones too."""

import io
import pickle

import numpy as np
import pytest

from tfcyclegan.torch_files.unpickling import STORAGES, Global, Refused, pickled, unpickle


def no_storage(identity):
    raise AssertionError(f"{identity} was loaded")


@pytest.mark.parametrize("protocol", range(6))
def test_plain_values_and_containers(protocol):
    value = {"a": [1, 2.5, None, True, "é"], "b": {"c": (), "d": (1, 2, 3, 4)}, "e": 2**40}
    file = io.BytesIO(pickle.dumps(value, protocol) + b"more")
    assert unpickle(file, no_storage) == value
    assert file.read() == b"more"


def test_a_state_dictionary():
    arrays = {"a": np.arange(6, dtype=np.float32).reshape(2, 3), "b": np.array(7, np.int64)}
    asked = []

    def load(identity):
        asked.append(identity)
        return list(arrays.values())[int(identity[2])].reshape(-1)

    found = unpickle(io.BytesIO(pickled(arrays)), load)
    for name, array in arrays.items():
        np.testing.assert_array_equal(found[name], array)
    assert asked[0] == ("storage", Global("torch", "FloatStorage"), "0", "cpu", 6)
    assert {identity[1].name for identity in asked} <= STORAGES.keys()


def test_other_names_are_refused():
    message = r"asks for builtins.eval, but only tensors.*save only the weights where it comes from"
    with pytest.raises(Refused, match=message):
        unpickle(io.BytesIO(b"\x80\x02cbuiltins\neval\n."), no_storage)
