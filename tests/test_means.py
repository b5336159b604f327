"""The means of a step's terms."""

import pytest

from tfcyclegan.means import TermMeans


def test_means_are_weighted_and_in_the_order_of_checkpoints():
    means = TermMeans(["loss", "tv_A", "cycle_A", "G_loss", "tv_A"])
    assert [mean.name for mean in means.metrics] == ["loss", "G_loss", "cycle_A", "tv_A"]
    means.update({"loss": 1.0, "tv_A": 2.0}, 3)
    means.update({"loss": 5.0})
    results = {name: float(value) for name, value in means.results().items()}
    assert results == {"loss": 2.0, "G_loss": 0.0, "cycle_A": 0.0, "tv_A": 2.0}
    with pytest.raises(KeyError, match="'tv_B' is new: generator_terms must always return"):
        means.update({"tv_B": 1.0})
