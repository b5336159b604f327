"""`tfcyclegan export`: a trained model as SavedModels and LiteRT files."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any, Literal

import keras
import tyro
from rich.console import Console
from rich.table import Table

from ..cyclegan import CycleGAN
from ..data.test_set import load_test_set
from ..directions import Direction
from ..errors import InputError
from ..export import Report, export_model
from ..runtimes.keras_model import direction_of
from ..training.run_folder import open_run
from ..translation.drawing import parse_size


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
    """Export a trained model as SavedModels for TF Serving and LiteRT files, with proof.

    Args:
        run: A run folder, or a .keras file.
        to: The folder to write. Its name is the models' name on a server. Default:
            exports/NAME of the run.
        direction: Which generators.
        image_size: Size that LiteRT files are fixed to, N or HEIGHTxWIDTH in px. Default: that
            of training.
        dynamic_size: LiteRT files for any size (int8 is then slower than float32).
        precision: What the SavedModels compute in.
        max_pixels: Pixels that a server puts through the generator at once.
        data: Where pictures to measure on come from, as in train. Default: the run's data.
        count: Pictures of each domain to measure on.
        enforce: Discard an export that misses its accuracy limit, instead of publishing it marked.
        to_pytorch: Only write the networks, to this folder, as the paper's PyTorch
            implementation saves them (latest_net_G_A.pth and so on).
    """
    if to_pytorch is not None:
        if (to, image_size, data, direction) != (None, None, None, "both") or dynamic_size:
            raise InputError(
                "--to-pytorch cannot be combined with other forms: export those separately"
            )
        from ..training.imported import export_run_to_pytorch

        for path in export_run_to_pytorch(run, to_pytorch):
            print(path)
        return 0
    model, config, name = open_run(run, data)
    directions: tuple[Direction, ...] | None = None if direction == "both" else (direction,)
    own = None if isinstance(model, CycleGAN) else direction_of(model)
    if own and direction not in ("both", own):
        raise InputError(f"{run} goes {own}: leave --direction {direction} out")
    if count < 1:
        raise InputError(f"--count {count}: must be at least 1")
    height, width = parse_size(image_size or str(config.image_size))
    report = export_and_print(
        model,
        load_test_set(config.data, test_count=count, or_training=True, **config.pictures),
        Path(to or Path("exports", name)),
        Console(),
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


def export_and_print(
    model: keras.Model, data: Any, to: Path, console: Console, **settings: Any
) -> Report:
    """Exports, and prints the report's table. Arguments as in `export.export_model`."""
    report = export_model(model, data, to, **settings)
    table = Table(title=f"Exported to {to}")
    head, *rows = report.rows()
    verdict = [-1] if report.missed else []
    shown = [0, 1, 3, 4, 5, *verdict]  # what 80 columns hold
    for column in shown:
        table.add_column(head[column], justify="right" if column > 0 else "left", no_wrap=True)
    for row in rows:
        table.add_row(*(row[column] for column in shown))
    console.print(table)
    console.print(f"report: {to / 'report.md'}", highlight=False, markup=False, soft_wrap=True)
    return report
