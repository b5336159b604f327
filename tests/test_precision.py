"""Which dtype policy a machine gets."""

import pytest
import tensorflow as tf

from tfcyclegan import precision
from tfcyclegan.precision import resolve_precision


@pytest.mark.parametrize(
    ("capability", "cpuinfo", "expected"),
    [
        ((9, 0), "", ("mixed_float16", "H100 has tensor cores")),
        ((6, 1), "flags : amx_bf16", ("float32", "H100 has no tensor cores")),
        (
            None,
            "vendor: x\nflags : fpu amx_bf16 avx512_bf16",
            ("mixed_bfloat16", "the CPU has AMX"),
        ),
        (None, "flags : fpu avx512_bf16", ("mixed_bfloat16", "the CPU has AVX512-BF16")),
        (None, "flags : fpu avx2", ("float32", "no GPU, and the CPU has neither")),
        (None, None, ("float32", "no GPU, and the CPU has neither")),
    ],
)
def test_auto_takes_what_is_fast_here(capability, cpuinfo, expected, monkeypatch, tmp_path):
    details = {"device_name": "H100", "compute_capability": capability}
    gpus = ["gpu"] if capability else []
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: gpus)
    monkeypatch.setattr(tf.config.experimental, "get_device_details", lambda device: details)
    if cpuinfo is not None:
        (tmp_path / "cpuinfo").write_text(cpuinfo)
    monkeypatch.setattr(precision, "Path", lambda path: tmp_path / "cpuinfo")
    policy, reason = resolve_precision()
    assert policy == expected[0]
    assert reason.startswith(expected[1])


def test_a_policy_stays_as_it_is():
    assert resolve_precision("mixed_float16") == ("mixed_float16", "as asked")
