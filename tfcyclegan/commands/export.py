"""`tfcyclegan export`: exports a trained model as SavedModels and LiteRT files."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any, Literal

import keras
import tyro

from ..data.test_set import load_test_set
from ..directions import Direction
from ..errors import InputError
from ..export import Report, export_model
from ..runtimes.keras_model import direction_of
from ..training.imported import export_run_to_pytorch
from ..training.run_folder import open_run
from ..translation.drawing import parse_size
from .tables import print_table


def export(
    run: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")],
    to: str | None = None,
    direction: Literal["both", "AtoB", "BtoA"] = "both",
    image_size: str | None = None,
    dynamic_size: bool = False,
    precision: Literal["float32", "bfloat16"] = "float32",
    max_pixels: int = 2**21,
    data: str | None = None,
    count: int = 8,
    enforce: bool = True,
    to_pytorch: str | None = None,
) -> int:
    """Export a trained model: SavedModels for TF Serving, and LiteRT files.

    Each export is compared with the Keras generator on test pictures.

    Args:
        run: A run folder or a .keras file.
        to: The output folder. Its name is the model's name on a server. Default: exports/NAME of
            the run.
        direction: Which generators to export.
        image_size: Fixed size of the LiteRT files in px, N or HEIGHTxWIDTH. Default: the training
            size.
        dynamic_size: Make LiteRT files for any size (int8 is then slower than float32).
        precision: Precision of the SavedModels' computations.
        max_pixels: Most pixels of one picture file or one batch on a server. Larger requests are
            refused.
        data: Source of the pictures to compare on, as in train. Default: the run's data.
        count: Number of pictures per domain to compare on.
        enforce: Discard an export that misses its accuracy limit. Otherwise it is kept and marked
            in the report.
        to_pytorch: Only write the networks to this folder, in the format of the paper's PyTorch
            implementation (latest_net_G_A.pth and so on), or of the one from scratch.
    """
    if to_pytorch is not None:
        if (to, image_size, data, direction) != (None, None, None, "both") or dynamic_size:
            raise InputError(
                "--to-pytorch cannot be combined with other forms: export those separately"
            )
        for path in export_run_to_pytorch(run, to_pytorch):
            print(path)
        return 0
    model, config, name = open_run(run, data)
    own = direction_of(model)
    if own and direction not in ("both", own):
        raise InputError(f"{run} only translates {own}: leave --direction {direction} out")
    if count < 1:
        raise InputError(f"--count {count}: must be at least 1")
    directions: tuple[Direction, ...] | None = None if direction == "both" else (direction,)
    height, width = parse_size(image_size or str(config.image_size))
    report = export_and_print(
        model,
        load_test_set(config.data, test_count=count, or_training=True, **config.pictures),
        Path(to or Path("exports", name)),
        directions=directions,
        count=count,
        image_size=(height or width, width),
        dynamic_size=dynamic_size,
        precision=precision,
        max_pixels=max_pixels,
        enforce=enforce,
    )
    for line in report.missed:
        print(f"tfcyclegan: {line}", file=sys.stderr)
    return 1 if report.missed and enforce else 0


def export_and_print(model: keras.Model, data: Any, to: Path, **settings: Any) -> Report:
    """Exports a model and prints the report's table. The arguments are those of `export_model`."""
    report = export_model(model, data, to, **settings)
    shown = [0, 1, 3, 4, 5, *([-1] if report.missed else [])]  # as much as fits in 80 columns
    print_table(f"Exported to {to}", [[row[column] for column in shown] for row in report.rows()])
    print(f"report: {to / 'report.md'}")
    return report
