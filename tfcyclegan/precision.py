"""The Keras dtype policy in which this machine trains fastest."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import tensorflow as tf

Precision = Literal["auto", "float32", "mixed_float16", "mixed_bfloat16"]


def resolve_precision(precision: Precision = "auto") -> tuple[str, str]:
    """Chooses a Keras dtype policy.

    Args:
        precision: a policy, which is returned as it is, or "auto" (default): mixed_float16 on a GPU
            with tensor cores (compute capability 7.0 or more), mixed_bfloat16 on a CPU that
            multiplies in bfloat16 (AVX512-BF16 or AMX), else float32.

    Returns:
        The policy, and the reason for it in words.

    Example:
        >>> resolve_precision("float32")
        ('float32', 'as asked')
    """
    if precision != "auto":
        return precision, "as asked"
    if gpus := tf.config.list_physical_devices("GPU"):
        details = tf.config.experimental.get_device_details(gpus[0])
        name = details.get("device_name", "GPU")
        if details.get("compute_capability", (0, 0)) >= (7, 0):
            return "mixed_float16", f"{name} has tensor cores"
        return "float32", f"{name} has no tensor cores"
    flags = _cpu_flags()
    for flag, name in (("amx_bf16", "AMX"), ("avx512_bf16", "AVX512-BF16")):
        if flag in flags:
            return "mixed_bfloat16", f"the CPU has {name}"
    return "float32", "no GPU, and the CPU has neither AVX512-BF16 nor AMX"


def _cpu_flags() -> set[str]:
    """The CPU's features as Linux lists them. Empty on other systems."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return set()
    return set(next((line for line in lines if line.startswith("flags")), "").split())
