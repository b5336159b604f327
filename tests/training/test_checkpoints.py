"""Checkpoints as files: which are kept, which are read and which are refused."""

import errno
import os

import numpy as np
import pytest

from tfcyclegan import InputError
from tfcyclegan.training import checkpoints
from tfcyclegan.training.checkpoints import Checkpoints


def test_everything_comes_back(start, state, assert_equal, tmp_path):
    model = start()
    model.G.trainable_variables[0].assign_add(np.ones(model.G.trainable_variables[0].shape))
    before = state(model)
    path = Checkpoints(tmp_path).save(model, {"pictures": 3})
    assert path.name == "step_000000000.npz"
    assert Checkpoints(tmp_path).restore(start(), {"pictures": 3}) == path
    assert_equal(state(model), before)
    with pytest.raises(InputError, match="pictures was 3, now 4: change it back"):
        Checkpoints(tmp_path).restore(model, {"pictures": 4})


def test_the_newest_few_are_kept(start, tmp_path):
    model, kept = start(), Checkpoints(tmp_path, keep=2)
    assert kept.restore(model) is None
    (tmp_path / ".step_000000001.part-x.npz").write_bytes(b"of a killed process")
    for step in (1, 2, 10):
        model.step.assign(step)
        kept.save(model)
    assert [path.name for path in kept.paths()] == ["step_000000010.npz", "step_000000002.npz"]
    assert len(list(tmp_path.iterdir())) == 2


def test_an_unreadable_checkpoint_is_not_renamed(start, tmp_path, monkeypatch):
    """A disk error is not damage: the files stay, and training does not start afresh."""
    path = Checkpoints(tmp_path).save(start())

    def fails(path):
        raise OSError(errno.EIO, "Input/output error", str(path))

    monkeypatch.setattr(checkpoints, "_read", fails)
    with pytest.raises(InputError, match=r"cannot be read .*see that every worker reaches"):
        Checkpoints(tmp_path).restore(start())
    assert list(tmp_path.iterdir()) == [path]


def test_a_checkpoint_that_would_run_code_does_not(start, tmp_path, caplog):
    """A pickle in place of an array is refused, not executed."""

    class Attack:
        def __reduce__(self):
            return (os.system, (f"touch {tmp_path}/attacked",))

    np.savez(tmp_path / "step_000000001.npz", meta=np.array([Attack()], dtype=object))
    assert Checkpoints(tmp_path).restore(start()) is None
    assert "no intact checkpoint left: starting afresh" in caplog.text
    assert not (tmp_path / "attacked").exists()


def test_a_checkpoint_of_another_model(start, make_model, tmp_path):
    Checkpoints(tmp_path).save(start())
    other = make_model(blocks=2)
    other.compile()
    with pytest.raises(InputError, match=r"belongs to another model: \d+ names differ"):
        Checkpoints(tmp_path).restore(other)


def test_diverged(tmp_path):
    error = Checkpoints(tmp_path).diverged("loss is nan", 3)
    assert str(error).startswith("loss is nan at step 3: training has diverged.")
    assert "Last good checkpoint: none yet." in str(error)
