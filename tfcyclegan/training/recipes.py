"""Recipes: sets of settings that go together, by name."""

from __future__ import annotations

from typing import Any, Literal

from ..data.sources import EMBEDDED
from ..pix2pix import PIX2PIX_NETWORKS

RecipeName = Literal["paper", "fast", "shapes", "pix2pix", "from-scratch"]
ModelName = Literal["cyclegan", "pix2pix"]

#: The settings that only one of the models has.
ONLY: dict[ModelName, tuple[str, ...]] = {
    "cyclegan": (
        "lambda_cycle_A", "lambda_cycle_B", "lambda_identity", "discriminators_first", "pool_size",
    ),
    "pix2pix": ("lambda_L1", "direction"),
}  # fmt: skip

#: Sections 4 and 7 of the paper; where it is silent, the reference. The number of blocks depends on
#: the image size.
PAPER: dict[str, Any] = {
    "image_size": 256, "batch_size": 1, "preprocess": "resize_and_crop", "generator": "resnet",
    "filters": 64, "upsampling": "transposed", "residual_output": False, "norm": "instance",
    "dropout": 0.0, "bare_first": False, "downsampling_padding": "zero", "pool_size": 50,
    "discriminator": "patch", "discriminator_filters": 64, "discriminator_layers": 3,
    "discriminator_padding": "zero", "sigmoid": False, "discriminator_translation": 0.0,
    "ema_momentum": 0.0, "objective": "lsgan", "lambda_cycle_A": 10.0, "lambda_cycle_B": 10.0,
    "lambda_identity": 0.5, "discriminators_first": False, "epochs": 200, "learning_rate": 2e-4,
    "constant_fraction": 0.5, "beta_1": 0.5, "beta_2": 0.999,
}  # fmt: skip

#: Ours: of the settings we tried, it gives the best results on photographs within an hour on two
#: CPU cores. docs/training.md says where each comes from. An epoch has 1,000 steps however many
#: pictures there are.
FAST: dict[str, Any] = PAPER | {
    "image_size": 128, "batch_size": 4, "generator": "fast", "filters": 24, "blocks": 6,
    "upsampling": "resize", "residual_output": "scaled", "change_penalty": 1.0,
    "discriminator": "projected+patch", "discriminator_filters": 24, "discriminator_layers": 2,
    "discriminator_translation": 0.125, "ema_momentum": 0.998, "objective": "hinge",
    "lambda_identity": 0.0, "epochs": 3, "steps_per_epoch": 1000, "learning_rate": 4e-4,
    "constant_fraction": 0.25, "beta_1": 0.0, "beta_2": 0.99,
}  # fmt: skip

#: Ours: of everything we tried, this shows the most on the embedded data after five minutes on two
#: CPU cores.
SHAPES: dict[str, Any] = PAPER | {
    "image_size": 32, "batch_size": 4, "preprocess": "none", "filters": 32, "blocks": 3,
    "residual_output": True, "discriminator_filters": 32, "discriminator_layers": 2,
    "lambda_identity": 0.0, "epochs": 18, "learning_rate": 3e-4,
}  # fmt: skip

#: Isola et al., CVPR 2017, sections 3 and 6.1; where the paper is silent, the reference.
PIX2PIX: dict[str, Any] = {
    **{name: value for name, value in PAPER.items() if name not in ONLY["cyclegan"]},
    **PIX2PIX_NETWORKS, "objective": "vanilla", "lambda_L1": 100.0, "direction": "AtoB",
}  # fmt: skip

#: The training loop of "CycleGAN from scratch" in PyTorch, from which many learned CycleGAN.
#: Pictures are resized, not cropped. docs/training.md says which versions there are.
FROM_SCRATCH: dict[str, Any] = PAPER | {
    "blocks": 9, "bare_first": True, "downsampling_padding": "reflect",
    "discriminator_padding": "reflect", "sigmoid": True, "discriminators_first": True,
    "lambda_identity": 0.0, "pool_size": 0, "epochs": 10, "learning_rate": 1e-5,
    "constant_fraction": 1.0,
}  # fmt: skip

RECIPES: dict[RecipeName, dict[str, Any]] = {
    "paper": PAPER, "fast": FAST, "shapes": SHAPES, "pix2pix": PIX2PIX,
    "from-scratch": FROM_SCRATCH,
}  # fmt: skip


def default_recipe(data: str, model: ModelName = "cyclegan") -> RecipeName:
    """The recipe of a run that names none."""
    if model == "pix2pix":
        return "pix2pix"
    return "shapes" if data in EMBEDDED else "paper"
