"""The interpreter of pickles; test_torch_files.py has whole files, hostile ones too."""

import pickle

import numpy as np
import pytest

from tfcyclegan.interop.torch_pickle import (
    NOT_ONLY_WEIGHTS,
    STORAGES,
    Global,
    Machine,
    Refused,
    pickled,
)


def no_storage(identity):
    raise AssertionError(f"{identity} was loaded")


@pytest.mark.parametrize("protocol", range(6))
def test_plain_values_and_containers(protocol):
    value = {"a": [1, 2.5, None, True, "é"], "b": {"c": (), "d": (1, 2, 3, 4)}, "e": 2**40}
    assert Machine(no_storage).run(pickle.dumps(value, protocol)) == value


def test_a_state_dictionary():
    arrays = {"a": np.arange(6, dtype=np.float32).reshape(2, 3), "b": np.array(7, np.int64)}
    asked = []

    def load(identity):
        asked.append(identity)
        return list(arrays.values())[int(identity[2])].reshape(-1)

    found = Machine(load).run(pickled(arrays))
    for name, array in arrays.items():
        np.testing.assert_array_equal(found[name], array)
    assert asked[0] == ("storage", Global("torch", "FloatStorage"), "0", "cpu", 6)
    assert {identity[1].name for identity in asked} <= STORAGES.keys()


def test_other_names_are_refused():
    with pytest.raises(Refused, match=r"asks for builtins.eval, but only tensors") as caught:
        Machine(no_storage).run(b"\x80\x02cbuiltins\neval\n.")
    assert NOT_ONLY_WEIGHTS in str(caught.value)
