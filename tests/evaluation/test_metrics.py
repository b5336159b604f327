"""Which metrics are measured, and which of two values is better."""

import pytest

from tfcyclegan import InputError
from tfcyclegan.evaluation.metrics import (
    METRICS,
    Metric,
    better,
    choose_metrics,
    metric_name,
    split_names,
)


def test_metrics_are_chosen_by_what_is_there():
    nothing = dict.fromkeys(("truth", "masks", "palette", "extractor", "classifier"), False)
    assert choose_metrics(None, nothing) == (
        "diversity", "cycle_l1", "cycle_psnr", "cycle_ssim", "identity_l1",
        "hue_shift", "brightness_shift",
    )  # fmt: skip
    assert choose_metrics("kid, psnr", {**nothing, "truth": True, "extractor": True}) == (
        "psnr", "kid"
    )  # fmt: skip
    with pytest.raises(InputError, match="metric kid: needs `extractor`"):
        choose_metrics("kid", nothing)
    with pytest.raises(InputError, match="metric psnr: needs `paired`, or the embedded data"):
        choose_metrics("psnr", nothing)
    with pytest.raises(InputError, match="'fidd' is unknown: take some of psnr"):
        choose_metrics("fidd", nothing)


def test_names():
    assert split_names(" kid,psnr, ") == ["kid", "psnr"]
    assert metric_name("AtoB_kid") == metric_name("BtoA_kid") == metric_name("kid") == "kid"


def test_which_value_is_better():
    assert better("AtoB_kid", 0.1, 0.2)
    assert better("psnr", 20.0, 10.0)
    assert not better("psnr", 10.0, 10.0)


def test_values_in_tables():
    assert METRICS["psnr"].show(float("inf")) == "equal"
    assert METRICS["psnr"].show(24.104) == "24.10 dB"
    assert METRICS["kid"].show(0.0421) == "0.042"
    assert Metric("length", "nothing", "neither", "how long", digits=1, unit="m").show(2) == "2.0 m"
