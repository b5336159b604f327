"""A model from elsewhere as a run folder."""

from __future__ import annotations

import dataclasses
import os
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import keras

from ..directions import GENERATORS, Direction
from ..errors import InputError
from ..files import sync_folder
from ..training.build import build_generator, build_model
from ..training.config import Config
from .layouts import Network
from .sources import find_networks

_DIRECTIONS: dict[str, Direction] = {name: direction for direction, name in GENERATORS.items()}


_DOMAINS = {"D_A": "A", "D_B": "B"}


@dataclasses.dataclass(frozen=True)
class Description:
    """What a checkpoint holds.

    Attributes:
        networks: `Network`s under G, F, D_A and D_B.
        config: the settings of the run that it becomes; None where it has no generator.
    """

    networks: Mapping[str, Network]
    config: Config | None

    def rows(self) -> list[tuple[str, str, str]]:
        """For each network its name, what it is, and its number of weights."""
        return [
            (name, _in_words(network), f"{network.count():,}")
            for name, network in self.networks.items()
        ]

    @property
    def notes(self) -> list[str]:
        """What could not be told, and what is not used; each once."""
        return list(dict.fromkeys(note for n in self.networks.values() for note in n.notes))


def describe(
    checkpoint: str | os.PathLike,
    direction: Direction | None = None,
    *,
    epoch: str | None = None,
    image_size: int | None = None,
    data: str = "",
) -> Description:
    """Reads what a checkpoint holds, without writing anything.

    The arguments are those of `import_checkpoint`, and so are the errors.

    Example:
        >>> describe("G_A2B_epoch33.pth").networks["G"].settings["norm"]
        'instance-affine'
    """
    networks = find_networks(checkpoint, direction, epoch)
    for name, network in networks.items():
        if bad := network.unsound():
            raise InputError(
                f"{checkpoint}: {name} has weights in {bad} that are no numbers: its training came "
                "apart, take an earlier checkpoint"
            )
    generators = [name for name in networks if name in _DIRECTIONS]
    if not generators:
        return Description(networks, None)
    settings: dict[str, Any] = {}
    for name, network in networks.items():
        for setting, value in network.settings.items():
            if settings.setdefault(setting, value) != value:
                raise InputError(
                    f"{checkpoint}: {name} has {setting} {value}, another of its networks has "
                    f"{settings[setting]}, and a run has one for all: import one generator's "
                    "file with --direction"
                )
    A, B = networks[generators[0]].channels, networks[generators[0]].output_channels
    A, B = (A, B) if generators[0] == "G" else (B, A)
    wanted = {"G": (A, B), "F": (B, A), "D_A": (A, 1), "D_B": (B, 1)}
    for name, network in networks.items():
        channels = network.channels, network.output_channels
        if channels != wanted[name] or not {*channels} <= {1, 3}:
            raise InputError(
                f"{checkpoint}: {name} goes from {channels[0]} to {channels[1]} channels, where "
                f"{wanted[name][0]} to {wanted[name][1]} fits, each 3 (RGB) or 1 (grey)"
            )
    config = Config(
        data="",
        image_size=2 ** settings.get("depth", 8) if image_size is None else image_size,
        channels_A=A,
        channels_B=B,
        lambda_identity=None if A == B else 0.0,
        pool_size=0,
        precision="float32",
        **settings,
    ).resolved()
    return Description(networks, dataclasses.replace(config, data=data))


def _in_words(network: Network) -> str:
    """What a network is; of its variants those that are not the paper's."""
    settings = network.settings
    kind = {
        "resnet": "resnet of {blocks} blocks",
        "unet": "U-Net of {depth} halvings",
        "patch": "PatchGAN of {discriminator_layers} layers",
        "pixel": "judge of single pixels",
    }[settings.get("generator") or settings["discriminator"]]
    filters = settings.get("filters") or settings["discriminator_filters"]
    paper = {setting.name: setting.default for setting in dataclasses.fields(Config)}
    variants = [
        f"{name} {value:g}" if isinstance(value, float) else f"{name} {value}"
        for name, value in settings.items()
        if "{" + name + "}" not in kind
        and name not in ("generator", "discriminator", "filters", "discriminator_filters", "norm")
        and value not in (paper[name], {"use_bias": True, "upsampling": "transposed"}.get(name))
    ]
    return ", ".join(
        [
            f"{network.origin}: {kind.format(**settings)}",
            f"{filters} filters",
            f"{network.channels} to {network.output_channels} channels",
            f"norm {settings['norm']}",
            *variants,
        ]
    )


def import_checkpoint(
    checkpoint: str | os.PathLike,
    to: str | os.PathLike,
    direction: Direction | None = None,
    *,
    epoch: str | None = None,
    image_size: int | None = None,
    data: str = "",
) -> Description:
    """Makes a run folder of a model that was trained elsewhere.

    Architecture and layout are read from the file's names and shapes. The folder gets
    `config.json` and `model.keras`: a `CycleGAN` where there are both generators (discriminators
    that are missing start afresh), else the one generator. Outputs are the source framework's
    within 1e-4.

    Args:
        checkpoint: what `find_networks` takes: PyTorch's `.pth` of the paper's implementation, of
            the "from scratch" one, or a folder of either; HDF5, TensorFlow checkpoint or SavedModel
            of Keras models with tensorflow-addons' InstanceNormalization.
        to: the run folder, which must not exist or be empty. It appears whole or not at all.
        direction: "AtoB" or "BtoA", for a file with one generator. Default: what the file's name
            says, else AtoB.
        epoch: which of a folder's files. Default: the latest.
        image_size: int, side in px of the pictures it was trained on; LiteRT files are made for
            it. Default 256, or what a U-Net takes to one pixel.
        data: where pictures to measure on come from; see `load_data`. Default: none.

    Returns:
        `Description`.

    Raises:
        InputError: a checkpoint that is not there, not known, damaged or unsafe, a folder that is
            taken, or one that cannot be written to.

    Example:
        ```python
        import_checkpoint("latest_net_G_A.pth", "runs/horse2zebra")
        ```
    """
    to = Path(to)
    if to.is_file() or (to.is_dir() and any(to.iterdir())):
        raise InputError(f"--to {to}: there is something already: give another --to")
    found = describe(checkpoint, direction, epoch=epoch, image_size=image_size, data=data)
    if found.config is None:
        raise InputError(
            f"{checkpoint}: a discriminator alone, which translates nothing: give the generator's "
            "file, or the folder of all four"
        )
    config = dataclasses.replace(found.config, run_dir=str(to))
    model = _build(found.networks, config)
    try:
        to.parent.mkdir(parents=True, exist_ok=True)
        staging = Path(tempfile.mkdtemp(prefix=f".{to.name}.part-", dir=to.parent))
        try:
            model.save(staging / "model.keras")
            config.save(staging / "config.json")
            umask = os.umask(0)  # there is no way to look at it without setting it
            os.umask(umask)
            staging.chmod(0o777 & ~umask)  # mkdtemp keeps its folders to one user
            sync_folder(staging)
            if to.exists():
                to.rmdir()
            staging.rename(to)
        finally:
            shutil.rmtree(staging, ignore_errors=True)
    except OSError as problem:
        raise InputError(
            f"--to {to}: cannot be written ({problem.strerror or problem}): make room, or choose "
            "another"
        ) from problem
    return found


def _build(networks: Mapping[str, Network], config: Config) -> keras.Model:
    generators = [name for name in networks if name in _DIRECTIONS]
    if len(generators) == 1:
        (name,) = generators
        return networks[name].fill(build_generator(config, _DIRECTIONS[name]))
    model = build_model(config)
    for name, network in networks.items():
        network.fill(getattr(model, name))
    return model
