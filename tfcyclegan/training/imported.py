"""Models that were trained elsewhere as run folders, and runs as files for PyTorch."""

from __future__ import annotations

import dataclasses
import os
import shutil
from pathlib import Path
from typing import Any, Literal

import keras

from ..directions import Direction
from ..errors import InputError
from ..files import sync_folder, temporary_name
from ..interop.description import DIRECTIONS, Description, describe
from ..interop.exporting import export_to_pytorch
from ..runtimes.keras_model import load_model, networks_of
from .build import build_model
from .config import Config, ResolvedConfig


def import_checkpoint(
    checkpoint: str | os.PathLike,
    to: str | os.PathLike,
    direction: Direction | None = None,
    *,
    epoch: str | None = None,
    image_size: int | None = None,
    data: str = "",
    block_padding: Literal["reflect", "replicate"] | None = None,
) -> Description:
    """Makes a run folder of a model that was trained elsewhere.

    The names and shapes in the file determine the architecture. The folder gets `config.json` and
    `model.keras`. The model is a `CycleGAN` if the checkpoint has both generators (missing
    discriminators get fresh weights), a `Pix2Pix` if it has one generator and a discriminator of
    pairs, else the one generator. Its outputs equal those of the source framework within 1e-4.

    Args:
        checkpoint: a file or folder that `interop.find_networks` reads.
        to: the run folder, which must be new or empty. It is written atomically.
        direction: "AtoB" or "BtoA", for a file with one generator. Default: what the file name
            says, else AtoB.
        epoch: which files of a folder to read. Default: the latest.
        image_size: int, side in px of the pictures that it was trained on. LiteRT exports have
            this size. Default 256; for a U-Net the size that it reduces to one pixel.
        data: source of the pictures to evaluate on; see `load_data`. Default: none.
        block_padding: see `interop.describe`.

    Returns:
        `Description`.

    Raises:
        InputError: the checkpoint cannot be read, or the folder is taken or cannot be written.

    Example:
        ```python
        import_checkpoint("latest_net_G_A.pth", "runs/horse2zebra")
        ```
    """
    to = Path(to)
    if to.is_file() or (to.is_dir() and any(to.iterdir())):
        raise InputError(f"to={to}: there is something already: give another `to`")
    found = describe(checkpoint, direction, epoch=epoch, block_padding=block_padding)
    if found.architecture is None:
        raise InputError(
            f"{checkpoint}: only a discriminator, which translates nothing: give the generator's "
            "file, or the folder of all four"
        )
    config = _config(found, image_size, to)
    model = _build(found, config)
    staging = to.with_name(temporary_name(to.name))
    try:
        staging.mkdir(parents=True)
        model.save(staging / "model.keras")
        dataclasses.replace(config, data=data).save(staging / "config.json")
        sync_folder(staging)
        if to.exists():
            to.rmdir()
        staging.rename(to)
    except OSError as problem:
        raise InputError(
            f"to={to}: cannot be written ({problem.strerror or problem}): make room, or choose "
            "another `to`"
        ) from problem
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    return found


def _config(found: Description, image_size: int | None, run_dir: Path) -> ResolvedConfig:
    architecture = found.architecture
    assert architecture
    if image_size is None:
        image_size = 256 if architecture.depth is None else 2**architecture.depth
    settings: dict[str, Any] = {"pool_size": 0}
    if found.pix2pix:
        settings = {"model": "pix2pix", "direction": DIRECTIONS[found.generators[0]]}
        if architecture.generator == "unet":
            # A file does not say whether its U-Net has dropout. The reference's has by default.
            architecture = dataclasses.replace(architecture, dropout=0.5)
    elif architecture.channels_A != architecture.channels_B:
        settings["lambda_identity"] = 0.0
    return Config(
        data="",  # the paper's recipe, whatever the data
        image_size=image_size,
        **settings,
        precision="float32",
        run_dir=str(run_dir),
        **dataclasses.asdict(architecture),
    ).resolved()


def _build(found: Description, config: ResolvedConfig) -> keras.Model:
    if len(found.generators) == 1 and not found.pix2pix:
        (name,) = found.generators
        generator = config.architecture.build_generator(
            DIRECTIONS[name], config.image_size, config.precision
        )
        return found.networks[name].fill(generator)
    model = build_model(config)
    for name, network in found.networks.items():
        network.fill(model.G if found.pix2pix and name in DIRECTIONS else getattr(model, name))
    return model


def export_run_to_pytorch(run: str | os.PathLike, directory: str | os.PathLike) -> list[Path]:
    """Writes the networks of a run as files for the paper's PyTorch implementation.

    Args:
        run: the run folder.
        directory: the folder to write to; see `interop.export_to_pytorch`.

    Returns:
        The files.

    Raises:
        InputError: not a run folder, its model is not the one that `config.json` describes, or
            the files cannot be written.

    Example:
        ```python
        export_run_to_pytorch("runs/horse2zebra", "checkpoints/horse2zebra")
        ```
    """
    if not Path(run, "config.json").exists():
        raise InputError(f"{run} does not say how its networks are built: give a run folder")
    config = Config.load(Path(run, "config.json"))
    networks, architecture = networks_of(load_model(Path(run))), config.architecture
    if config.direction == "BtoA":  # the generator of a pix2pix is called G in either direction
        A, B = architecture.channels_A, architecture.channels_B
        architecture = dataclasses.replace(architecture, channels_A=B, channels_B=A)
    return export_to_pytorch(networks, architecture, directory, config.image_size or 256)
