"""`tfcyclegan import`: makes a run folder from a model that was trained elsewhere."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Annotated, Literal

import tyro

from ..directions import Direction
from ..interop.description import Description, describe
from ..training.imported import import_checkpoint
from ..training.run_folder import free_run_dir
from .tables import print_table


def import_model(
    checkpoint: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="CHECKPOINT")],
    to: str | None = None,
    direction: Direction | None = None,
    epoch: str | None = None,
    image_size: int | None = None,
    data: str = "",
    block_padding: Literal["reflect", "replicate"] | None = None,
    describe_only: Annotated[bool, tyro.conf.arg(name="describe")] = False,
) -> int:
    """Import a model that was trained elsewhere, with PyTorch or tensorflow-addons.

    The file determines the architecture. The result is a run folder, which can translate, be
    exported and evaluated, and be trained further (train --initial-weights).

    Args:
        checkpoint: A PyTorch file, a folder of them, an HDF5 file of Keras 2, or a TensorFlow
            checkpoint.
        to: The run folder to make. Default: runs/NAME of the checkpoint.
        direction: The direction of a single generator. Default: the one in the file name,
            else AtoB.
        epoch: Which files of a folder to read, EPOCH_net_G_A.pth. Default: latest.
        image_size: Side in px of the pictures that it was trained on, which is also the size of
            LiteRT exports. Default: 256, or for a U-Net the size that it reduces to one pixel.
        data: Source of the pictures to evaluate on, as in train. Default: none.
        block_padding: How the blocks of a resnet pad, which no file says. Default: reflect.
        describe_only: Only print what the checkpoint holds.
    """
    if describe_only:
        _report(describe(checkpoint, direction, epoch=epoch, block_padding=block_padding))
        return 0
    run = Path(to) if to else free_run_dir(_name(checkpoint))
    found = import_checkpoint(
        checkpoint, run, direction,
        epoch=epoch, image_size=image_size, data=data, block_padding=block_padding,
    )  # fmt: skip
    _report(found)
    print(f"run: {run}")
    again = f"python -m tfcyclegan translate PICTURES --model {shlex.quote(str(run))} --to FOLDER"
    print(f"use it with: {again}")
    return 0


def _name(checkpoint: str) -> str:
    """The run's name: the file's, or the folder's if the file has a standard name."""
    path = Path(checkpoint.rstrip("/\\"))
    name = re.sub(r"(\.pth)?\.(pth|tar|pt|h5|hdf5|index)$", "", path.name)
    return path.resolve().parent.name if re.search(r"_net_[GD]", name) else name


def _report(found: Description) -> None:
    print_table("What was found", [("", "what", "weights"), *found.rows()], left=2)
    for note in found.notes:
        print(f"note: {note}")
    missing = [name for name in ("D_A", "D_B") if name not in found.networks]
    if {"G", "F"} <= found.networks.keys() and missing:
        print(f"note: {' and '.join(missing)}: missing, so they get fresh weights")
    if len(found.generators) == 1 and len(found.networks) > 1 and not found.pix2pix:
        print("note: discriminators are left out: the other generator is missing")
