"""`tfcyclegan import`: makes a run folder of a model that was trained elsewhere."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Annotated

import tyro
from rich.console import Console
from rich.table import Table

from ..directions import Direction
from ..interop.description import Description, describe
from ..training.imported import import_checkpoint
from ..training.run_folder import free_run_dir


def import_model(
    checkpoint: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="CHECKPOINT")],
    to: str | None = None,
    direction: Direction | None = None,
    epoch: str | None = None,
    image_size: int | None = None,
    data: str = "",
    describe_only: Annotated[bool, tyro.conf.arg(name="describe")] = False,
) -> int:
    """Make a run of a model that was trained elsewhere, in PyTorch or with tensorflow-addons.

    The file determines the architecture. The run can translate, be exported and evaluated, and be
    trained further (train --initial-weights).

    Args:
        checkpoint: A PyTorch file or a folder of them, an HDF5 file of Keras 2, or a TensorFlow
            checkpoint.
        to: The run folder to make. Default: runs/NAME of the checkpoint.
        direction: The direction of a single generator. Default: what the file name says, else
            AtoB.
        epoch: Which files of a folder to read, EPOCH_net_G_A.pth. Default: latest.
        image_size: Side in px of the pictures that it was trained on. LiteRT exports have this
            size. Default: 256, or for a U-Net the size that it reduces to one pixel.
        data: Source of the pictures to evaluate on, as in train. Default: none.
        describe_only: Only print what the checkpoint holds.
    """
    if describe_only:
        _report(describe(checkpoint, direction, epoch=epoch))
        return 0
    run = Path(to) if to else free_run_dir(_name(checkpoint))
    found = import_checkpoint(
        checkpoint, run, direction, epoch=epoch, image_size=image_size, data=data
    )
    _report(found)
    console = Console()
    console.print(f"run: {run}", highlight=False, markup=False, soft_wrap=True)
    again = f"python -m tfcyclegan translate PICTURES --model {shlex.quote(str(run))} --to FOLDER"
    console.print(f"use it with: {again}", highlight=False, markup=False, soft_wrap=True)
    return 0


def _name(checkpoint: str) -> str:
    """The name of the run: the folder's if every such folder has files of this name."""
    path = Path(checkpoint.rstrip("/\\"))
    name = re.sub(r"(\.pth)?\.(pth|tar|pt|h5|hdf5|index)$", "", path.name)
    return path.resolve().parent.name if re.search(r"_net_[GD]", name) else name


def _report(found: Description) -> None:
    console = Console()
    table = Table(title="What was found")
    for column in ("", "what", "weights"):
        table.add_column(column, justify="right" if column == "weights" else "left")
    for row in found.rows():
        table.add_row(*row)
    console.print(table)
    for note in found.notes:
        console.print(f"note: {note}", highlight=False, markup=False, soft_wrap=True)
    missing = [name for name in ("D_A", "D_B") if name not in found.networks]
    if {"G", "F"} <= found.networks.keys() and missing:
        console.print(f"note: {' and '.join(missing)}: missing, so they get fresh weights")
    if len({"G", "F"} & found.networks.keys()) == 1 and len(found.networks) > 1:
        console.print("note: discriminators are left out: the other generator is missing")
