"""`tfcyclegan export`: a trained model as SavedModels and LiteRT files."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any, Literal

import tensorflow as tf
import tyro
from rich.console import Console
from rich.table import Table

from ..cyclegan import CycleGAN
from ..data.preprocessing import to_float
from ..data.test_set import load_test_set
from ..directions import Direction
from ..errors import InputError
from ..export.exporting import export_generators
from ..export.proof import Report
from ..runtimes.keras_model import direction_of, generator_of
from ..training.config import Config
from ..training.run_folder import open_run
from ..translation.files import parse_size


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
    """Turn a trained model into SavedModels for TF Serving and LiteRT files, measured.

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
        enforce: Leave out what misses its bar, instead of publishing it marked.
        to_pytorch: A folder for the networks as the paper's PyTorch implementation keeps them
            (latest_net_G_A.pth and so on); nothing else is then exported.
    """
    if to_pytorch is not None:
        if (to, image_size, data, direction) != (None, None, None, "both") or dynamic_size:
            raise InputError("--to-pytorch: goes alone: export to other forms by a call of its own")
        from ..training.imported import export_run_to_pytorch

        for path in export_run_to_pytorch(run, to_pytorch):
            print(path)
        return 0
    model, config, name = open_run(run, data)
    directions = ("AtoB", "BtoA") if direction == "both" else (direction,)
    if not isinstance(model, CycleGAN):  # a generator alone
        own = direction_of(model)
        if own and direction not in ("both", own):
            raise InputError(f"{run} goes {own}: leave --direction {direction} out")
        directions = (own or "AtoB",) if direction == "both" else (direction,)
    report = export_model(
        model, config, Path(to or Path("exports", name)), Console(),
        directions=directions, image_size=image_size, dynamic_size=dynamic_size,
        precision=precision, max_pixels=max_pixels, count=count, enforce=enforce,
    )  # fmt: skip
    for line in report.missed:
        print(f"tfcyclegan: {line}", file=sys.stderr)
    return 1 if report.missed and enforce else 0


def export_model(
    model: Any,
    config: Config,
    to: Path,
    console: Console,
    *,
    directions: tuple[Direction, ...] = ("AtoB", "BtoA"),
    image_size: str | None = None,
    count: int = 8,
    **settings: Any,
) -> Report:
    """Exports, and prints the report."""
    if count < 1:
        raise InputError(f"--count {count}: must be at least 1")
    height, width = parse_size(image_size or str(config.image_size))
    size = (height or width, width)
    generators = {way: generator_of(model, way, model.name) for way in directions}
    pictures = {
        way: [
            tf.image.resize(to_float(p), size).numpy()
            for p in getattr(load_test_set(config.data, or_training=True, test_count=count, **config.pictures), way[0])
        ]
        for way, generator in generators.items()
    }  # fmt: skip
    report = export_generators(generators, to, pictures, image_size=size, **settings)
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
