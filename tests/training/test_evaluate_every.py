"""Evaluating while training goes on: how often, and which model is kept as the best."""

import keras
import numpy as np
import pytest

from tfcyclegan import InputError, load_data
from tfcyclegan.data.test_set import load_test_set
from tfcyclegan.evaluation import Evaluator, Palette
from tfcyclegan.training.evaluation import EvaluateEvery, read_best


@pytest.fixture
def data(folder):
    return load_data(folder, image_size=16, batch_size=2, steps_per_epoch=1)


def train(model, callback, epochs):
    """Calls the callback as `fit` does, and returns the logs of each epoch."""
    callback.set_model(model)
    callback.set_params({"epochs": epochs})
    callback.on_train_begin()
    history = []
    for epoch in range(epochs):
        model.step.assign_add(1)
        history.append({})
        callback.on_epoch_end(epoch, history[-1])
    return history


def test_scores_are_in_the_history(make_model, data):
    """tests/commands/test_evaluate.py shows that evaluations do not change the weights."""
    model = make_model()
    model.compile(run_eagerly=True)
    every = EvaluateEvery(Evaluator(data.test_set, metrics="cycle_l1"))
    history = model.fit(data.train, epochs=1, callbacks=[every], verbose=0).history
    assert history["AtoB_cycle_l1"] == [every.last.flat()["AtoB_cycle_l1"]]
    assert "BtoA_cycle_l1" in history


def test_the_best_model_is_kept(make_model, data, tmp_path):
    """The second of the given scores is the best, and a resumed run knows it."""
    scores = iter([3.0, 1.0, 2.0, 1.5, 0.5])

    class Given(Evaluator):
        def __call__(self, generators):
            found = super().__call__(generators)
            value = next(scores)
            for way in found.scores:
                found.scores[way]["identity_l1"]["translated"] = value
            return found

    evaluator = Given(data.test_set, metrics="cycle_l1,identity_l1")
    model = make_model()
    train(model, EvaluateEvery(evaluator, tmp_path, best_by="AtoB_identity_l1"), epochs=3)
    best = read_best(tmp_path)
    assert (best["epoch"], best["step"], best["value"]) == (2, 2, 1.0)
    assert int(keras.saving.load_model(tmp_path / "best.keras").step.numpy()) == 2
    again = EvaluateEvery(evaluator, tmp_path, best_by="AtoB_identity_l1")
    train(model, again, epochs=1)  # 1.5: no better than 1.0
    assert read_best(tmp_path) == best
    train(model, again, epochs=1)
    assert read_best(tmp_path)["value"] == 0.5
    other = EvaluateEvery(evaluator, tmp_path, best_by="cycle_l1")
    with pytest.raises(InputError, match="the best by AtoB_identity_l1, not by cycle_l1"):
        train(model, other, epochs=1)
    (tmp_path / "best.json").write_text("{")
    with pytest.raises(InputError, match=r"best.json: damaged"):
        train(model, again, epochs=1)


def test_how_often_and_by_which_score(make_model, data):
    every = EvaluateEvery(Evaluator(data.test_set), every=2)
    assert every.best_by is None  # the round trip does not choose the best
    history = train(make_model(), every, epochs=3)
    assert ["AtoB_cycle_l1" in logs for logs in history] == [False, True, True]  # the last, too
    with pytest.raises(InputError, match=r"best.by.kid: not measured here"):
        EvaluateEvery(Evaluator(data.test_set), best_by="kid")
    with pytest.raises(InputError, match=r"more `?metrics"):
        EvaluateEvery(Evaluator(data.test_set, metrics="diversity"), best_by="diversity")
    with pytest.raises(InputError, match=r"best.by.AtoB_diversity: .* no better"):
        EvaluateEvery(Evaluator(data.test_set), best_by="AtoB_diversity")
    shapes = Evaluator(load_test_set("shapes", image_size=16, test_count=2))
    assert EvaluateEvery(shapes).best_by == "psnr"


def test_label_maps_have_scores_in_one_direction():
    """Only A to B draws them."""
    palette = Palette("two", ("dark", "light"), np.array([[0, 0, 0], [255, 255, 255]], np.uint8))
    test_set = load_test_set("shapes", image_size=16, test_count=2)
    evaluator = Evaluator(test_set, palette=palette)
    for score in ("class_iou", "AtoB_class_iou"):
        assert EvaluateEvery(evaluator, best_by=score).best_by == score
    with pytest.raises(InputError, match=r"best.by.BtoA_class_iou: not measured here"):
        EvaluateEvery(evaluator, best_by="BtoA_class_iou")
