"""The tables of the paper, as sets of runs that differ only in the settings under study.

To add a table, add an entry to `STUDIES`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ..directions import Direction

#: Scores that tables show, if they were measured.
SHOWN = (
    "pixel_accuracy", "class_accuracy", "class_iou", "psnr", "ssim", "coat_changed", "rest_kept",
    "fid", "kid", "hit_rate", "diversity",
)  # fmt: skip


@dataclass(frozen=True)
class Study:
    """The variants of a run that a table compares.

    Attributes:
        title: title of the table.
        shared: settings of `Config` that all variants share.
        variants: name of a variant → the settings in which it differs. With `model="pix2pix"` it
            is two runs, one for each direction.
        data: the embedded data that it is made for. Default: any.
        needs_truth: whether the truth of the test pictures must be known. Default True.
        metrics: the scores that its tables show, if they were measured. Default: `SHOWN`.
        paper: the paper's figures: direction → variant → text.
        paper_setting: what the paper's figures were measured with.
    """

    title: str
    shared: Mapping[str, Any]
    variants: Mapping[str, Mapping[str, Any]]
    data: str | None = None
    needs_truth: bool = True
    metrics: tuple[str, ...] = SHOWN
    paper: Mapping[Direction, Mapping[str, str]] = field(default_factory=dict)
    paper_setting: str = ""


#: Rows of a table that are no variants: the inputs themselves, and real pictures.
NOTHING, REAL = "doing nothing", "real pictures"

_ABLATION = {
    "cycle only": {"lambda_gan": 0.0},
    "GAN only": {"lambda_cycle_A": 0.0, "lambda_cycle_B": 0.0},
    "GAN + forward cycle": {"lambda_cycle_B": 0.0},
    "GAN + backward cycle": {"lambda_cycle_A": 0.0},
    "CycleGAN": {},
}

#: Per-pixel accuracy, per-class accuracy and class IoU on Cityscapes. A is photographs, B labels.
_CITYSCAPES: dict[Direction, dict[str, str]] = {
    "AtoB": {  # tables 3 and 5
        "cycle only": "0.10 / 0.05 / 0.02",
        "GAN only": "0.53 / 0.11 / 0.07",
        "GAN + forward cycle": "0.49 / 0.11 / 0.07",
        "GAN + backward cycle": "0.01 / 0.06 / 0.01",
        "CycleGAN": "0.58 / 0.22 / 0.16",
        "pix2pix": "0.85 / 0.40 / 0.32",
    },
    "BtoA": {  # tables 2 and 4
        "cycle only": "0.22 / 0.07 / 0.02",
        "GAN only": "0.51 / 0.11 / 0.08",
        "GAN + forward cycle": "0.55 / 0.18 / 0.12",
        "GAN + backward cycle": "0.39 / 0.14 / 0.06",
        "CycleGAN": "0.52 / 0.17 / 0.11",
        "pix2pix": "0.71 / 0.25 / 0.18",
        REAL: "0.80 / 0.26 / 0.21",  # from table 1 of pix2pix's paper
    },
}

_PAPER_SETTING = (
    "per-pixel accuracy / per-class accuracy / class IoU on Cityscapes at 128 px; photographs are "
    "segmented by FCN-8s"
)

STUDIES = {
    "ablation": Study(
        title="Ablation of the objective (the paper's tables 4 and 5)",
        # The paper's objective for labels↔photo has no identity loss (section 5.1.4).
        shared={"lambda_identity": 0.0},
        variants=_ABLATION,
        paper=_CITYSCAPES,
        paper_setting=_PAPER_SETTING,
    ),
    "table2": Study(
        title="CycleGAN without pairs, pix2pix with pairs (the paper's tables 2 to 5)",
        shared={"lambda_identity": 0.0},
        variants={**_ABLATION, "pix2pix": {"model": "pix2pix"}},
        paper=_CITYSCAPES,
        paper_setting=_PAPER_SETTING,
    ),
    "identity": Study(
        title="The effect of the identity loss (the paper's section 5.2 and figure 9)",
        shared={},
        variants={"without": {"lambda_identity": 0.0}, "with": {"lambda_identity": 0.5}},
        data="shapes-dusk",
        needs_truth=False,
        metrics=("hue_shift", "brightness_shift", "identity_l1", "psnr", "coat_changed", "kid"),
    ),
    "style": Study(
        title="CycleGAN and neural style transfer (the paper's figures 15 and 16)",
        shared={},
        variants={"CycleGAN": {}},
        needs_truth=False,
    ),
}
