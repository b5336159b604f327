"""Every setting of a run, its default and its meaning, in one dataclass."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from ..data.preprocessing import Preprocess
from ..distributed.workers import COLLECTIVE_TIMEOUT, StrategyName
from ..errors import InputError
from ..files import atomic_write
from ..losses import check_losses
from ..networks.architecture import Architecture
from ..networks.factory import Alignment, Norm
from ..networks.resnet import default_blocks
from ..precision import Precision, resolve_precision
from .measuring import RETIRED, Measuring
from .recipes import EMBEDDED_RECIPE, PAPER_RECIPE

#: The settings that describe networks: a run's weights fit only these.
ARCHITECTURE = tuple(field.name for field in dataclasses.fields(Architecture))


@dataclass(frozen=True)
class Config:
    """The settings of a training run. None means: what the paper says, or the data set's recipe.

    `resolved()` fills those in; the run folder's `config.json` holds the result.
    """

    # What to learn from

    data: str = "shapes"
    """shapes (embedded), a folder with trainA/ trainB/ testA/ testB/, a zip of one
    (FILE.zip:NAME picks one of several), or a TFDS configuration such as horse2zebra."""
    image_size: int | None = None
    """Side of the pictures in px, a multiple of 4. Paper: 256."""
    batch_size: int | None = None
    """Pictures of each domain a step. Paper: 1."""
    preprocess: Preprocess | None = None
    """From a picture's own size to image_size. Paper: resize_and_crop."""
    load_size: int | None = None
    """Size in px that is cropped from. Paper: 286/256 of image_size."""
    flip: bool = True
    """Mirror half of the pictures, left to right."""
    channels_A: Literal[1, 3] = 3
    """Channels of domain A: 3 for RGB, 1 for grey."""
    channels_B: Literal[1, 3] = 3
    """Channels of domain B."""
    skip_bad_images: bool = False
    """Leave out pictures that cannot be used, with a warning, instead of stopping."""
    cache_memory: int = 2048
    """Decoded pictures kept in memory, in MB; the rest goes to cache_dir."""
    cache_dir: str | None = None
    """Folder for decoded pictures beyond cache_memory. Default: the system's temporary one."""
    data_dir: str | None = None
    """Folder of TFDS's data sets. Default: TFDS's own."""
    initial_weights: str | None = None
    """A run folder or .keras file whose networks training starts from, an imported one for
    instance. What describes the networks is then taken from that run's settings."""

    # The networks

    generator: Literal["resnet", "unet"] = "resnet"
    """The paper's resnet, or pix2pix's U-Net."""
    filters: int | None = None
    """Channels after a generator's first convolution. Paper: 64."""
    blocks: int | None = None
    """Residual blocks of a resnet. Paper: 9 from 256 px upwards, 6 below."""
    depth: int | None = None
    """Halvings of a U-Net. Default: 8 from 256 px upwards, below as many as lead to one pixel."""
    norm: Norm = "instance"
    """Normalisation in all four networks."""
    use_bias: bool | None = None
    """Biases in front of norms. Default: yes, unless norm is batch."""
    epsilon: float = 1e-5
    """Added to the norms' variances. Reference: 1e-5; tensorflow-addons had 1e-3."""
    alignment: Alignment = "torch"
    """Where strided convolutions lie on their pictures (tensorflow: as in models trained with
    Keras's padding "same")."""
    upsampling: Literal["transposed", "resize"] | None = None
    """How a resnet grows: transposed convolution (paper), or resize and convolve."""
    dropout: float = 0.0
    """Dropout rate in the generators."""
    residual_output: bool | None = None
    """Generators draw the change to the picture, not the picture. Paper: no."""
    bare_first: bool = False
    """No norm, no ReLU after a resnet's first convolution (as in some models found elsewhere)."""
    downsampling_padding: Literal["zero", "reflect"] = "zero"
    """Padding of a resnet's strided convolutions (reflect: as in some models found elsewhere)."""
    discriminator: Literal["patch", "pixel"] = "patch"
    """PatchGAN, or a judge of single pixels."""
    discriminator_filters: int | None = None
    """Channels after a discriminator's first convolution. Paper: 64."""
    discriminator_layers: int | None = None
    """Strided layers of a PatchGAN: 3 sees 70 px (paper), 2 sees 34, 1 sees 16."""
    discriminator_padding: Literal["zero", "reflect"] = "zero"
    """Padding of the discriminators (reflect: as in some models found elsewhere)."""
    sigmoid: bool = False
    """Discriminators give probabilities (as in some models found elsewhere); with lsgan alone."""

    # The objective

    objective: Literal["lsgan", "vanilla", "hinge", "wgan-gp"] = "lsgan"
    """What the networks play for. Paper: lsgan."""
    lambda_cycle_A: float = 10.0
    """Weight of |F(G(a)) - a|. Paper: 10."""
    lambda_cycle_B: float = 10.0
    """Weight of |G(F(b)) - b|. Paper: 10."""
    lambda_identity: float | None = None
    """Weight of |G(b) - b| and |F(a) - a| as a share of the cycle weights. Reference, and the
    default: 0.5; the paper has it for painting→photo alone."""
    lambda_gan: float = 1.0
    """Weight of the adversarial terms. Paper: 1."""
    pool_size: int = 50
    """Generated pictures a discriminator remembers. Paper: 50."""

    # How long and how fast

    epochs: int | None = None
    """Times through the longer domain. Paper: 200."""
    steps_per_epoch: int | None = None
    """Steps an epoch. Default: as many as the longer domain fills."""
    learning_rate: float | None = None
    """Adam's. Paper: 2e-4."""
    beta_1: float = 0.5
    """Adam's first moment. Reference: 0.5."""
    constant_fraction: float = 0.5
    """Share of the run before the learning rate falls in a line to zero. Paper: half."""

    # The run

    run_dir: str | None = None
    """Where everything goes. Default: runs/NAME of the data, with a number when that is taken."""
    seed: int = 0
    """Of first weights, order, augmentation and draws."""
    precision: Precision = "auto"
    """auto takes float16 on GPUs with tensor cores, bfloat16 on CPUs that have it, else float32."""
    strategy: StrategyName = "auto"
    """Devices to train on: one (none), all GPUs of this machine (mirrored), those of all workers
    in TF_CONFIG (multiworker), or those of workers that Ray starts (ray). auto takes what is
    available. batch_size is the total over all devices."""
    workers: int | None = None
    """Number of workers that Ray starts, with strategy ray."""
    collective_timeout: float = COLLECTIVE_TIMEOUT
    """Seconds that a worker may keep the others waiting, the chief measuring for instance."""
    recompute: bool = False
    """Hold fewer activations and compute them twice: for pictures that do not fit into memory."""
    xla: Literal["auto", "on", "off"] = "auto"
    """Compile the step with XLA; auto is Keras's choice, which is not to on a CPU."""
    deterministic: bool = False
    """Bit-for-bit the same result every time, at some cost in speed."""
    checkpoint_steps: int | None = None
    """Steps between checkpoints. Default: one at the end of every epoch."""
    keep_checkpoints: int = 3
    """Newest checkpoints to keep."""
    sample_every: int = 1
    """Epochs between sample grids; 0 for none but the last."""
    sample_count: int = 6
    """Pictures of each domain in a grid."""
    validation_every: int = 0
    """Epochs between passes over the test pictures for their losses; 0 for none."""
    evaluate_every: int = 0
    """Epochs between evaluations on the test pictures, logged beside the losses; 0 for none but
    the last."""
    best_by: str | None = None
    """Score that decides which model is kept as best.keras: psnr, kid, AtoB_kid, ….
    Default: psnr where the truth is known, else kid with an extractor, else hit_rate."""
    tensorboard: bool = True
    """Write TensorBoard logs."""
    export: bool = True
    """Export the generators when the run is over, to exports/NAME of the run folder."""
    measuring: Measuring = field(default_factory=Measuring)
    """What is measured on the test pictures."""

    @property
    def divisor(self) -> int:
        """What the generators need sides to be multiples of."""
        return self.architecture.divisor(self.image_size or 256)

    @property
    def architecture(self) -> Architecture:
        """The settings that describe the networks; the paper's where they are None."""
        given = {name: getattr(self, name) for name in ARCHITECTURE}
        return Architecture(**{name: value for name, value in given.items() if value is not None})

    @property
    def pictures(self) -> dict[str, Any]:
        """How pictures are read, in training and in measuring: arguments of their loaders."""
        return {
            name: getattr(self, name)
            for name in (
                "image_size", "preprocess", "channels_A", "channels_B", "divisor",
                "skip_bad_images", "data_dir",
            )
        }  # fmt: skip

    def resolved(self) -> ResolvedConfig:
        """The same with every None that has a recipe filled in, and precision chosen.

        Raises:
            InputError: a setting that makes no sense.
        """
        recipe: dict[str, Any] = EMBEDDED_RECIPE if self.data == "shapes" else PAPER_RECIPE
        if self.generator == "unet":
            recipe = {**recipe, "upsampling": "transposed"}
        values = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        values |= {name: value for name, value in recipe.items() if values[name] is None}
        if values["blocks"] is None:
            values["blocks"] = default_blocks(values["image_size"])
        values["precision"] = resolve_precision(self.precision)[0]
        config = ResolvedConfig(**values)
        config.check()
        return config

    def check(self) -> None:
        """Refuses what makes no sense, whatever the data.

        Raises:
            InputError: naming the setting and a value that would do.
        """
        at_least = {
            "image_size": self.divisor, "batch_size": 1, "pool_size": 0, "epochs": 1,
            "steps_per_epoch": 1, "checkpoint_steps": 1, "keep_checkpoints": 1,
            "sample_every": 0, "sample_count": 1, "validation_every": 0, "cache_memory": 0,
            "evaluate_every": 0, "learning_rate": 0, "seed": 0, "collective_timeout": 1,
            "workers": 1,
        }  # fmt: skip
        for name, least in at_least.items():
            value = getattr(self, name)
            if value is not None and value < least:
                raise InputError(f"{name}={value}: must be at least {least}")
        for name in ("beta_1", "constant_fraction"):
            if not 0 <= getattr(self, name) <= 1:
                raise InputError(f"{name}={getattr(self, name)}: must lie between 0 and 1")
        if self.strategy == "ray" and self.workers is None:
            raise InputError("strategy=ray: set workers=2, or as many as you want, as well")
        if self.strategy != "ray" and self.workers is not None:
            raise InputError(f"workers={self.workers}: set strategy=ray as well, or leave it out")
        if self.best_by and not self.evaluate_every:
            raise InputError(f"best_by={self.best_by}: set evaluate_every=1 as well")
        if self.seed >= 2**32:
            raise InputError(f"seed={self.seed}: must be below 2**32")
        size = self.image_size
        if size is not None and size % self.divisor:
            near = max(self.divisor, round(size / self.divisor) * self.divisor)
            raise InputError(
                f"image_size={size}: no multiple of {self.divisor}, which the generators need: "
                f"take {near}"
            )
        check_losses(
            self.objective,
            sigmoid=self.sigmoid,
            same_channels=self.channels_A == self.channels_B,
            lambda_identity=self.lambda_identity,
            lambda_cycle_A=self.lambda_cycle_A,
            lambda_cycle_B=self.lambda_cycle_B,
            lambda_gan=self.lambda_gan,
        )
        self.architecture.check()
        whole = self.preprocess in ("scale_width", "none") and self.data != "shapes"
        if whole and self.pool_size:
            raise InputError(
                f"preprocess={self.preprocess} leaves pictures of many sizes, and a pool "
                "holds pictures of one: take pool_size=0 or a `preprocess` that crops"
            )

    def to_json(self) -> str:
        """As JSON, for `from_json`."""
        return json.dumps(dataclasses.asdict(self), indent=2) + "\n"

    @classmethod
    def from_json(cls, text: str) -> Config:
        """From what `to_json` gave.

        Raises:
            ValueError, TypeError, AttributeError: not a configuration.
        """
        values = json.loads(text)
        measuring = values.pop("measuring", {})
        for name in RETIRED & measuring.keys():
            if (value := measuring.pop(name)) not in (None, "none"):
                raise ValueError(f"the setting {name}={value} is gone")
        return cls(**values, measuring=Measuring(**measuring))

    def save(self, path: str | Path) -> None:
        """Writes it as JSON."""
        with atomic_write(path) as part:
            part.write_text(self.to_json())

    @classmethod
    def load(cls, path: str | Path) -> Config:
        """Reads what `save` wrote.

        Raises:
            InputError: not there, or not a configuration.
        """
        try:
            return cls.from_json(Path(path).read_text())
        except FileNotFoundError as problem:
            raise InputError(f"{path}: there is no such file") from problem
        except (OSError, ValueError, TypeError, AttributeError) as problem:
            raise InputError(
                f"{path}: not a configuration of this version ({problem}): "
                "start a new run, or mend the file"
            ) from problem

    def differences(self, other: Config, longer: bool = True) -> list[str]:
        """What a run of `other` cannot go on with: a line for each setting, as options.

        Other intervals and where things are kept make no difference, nor does a longer run.

        Args:
            other: settings to go on with.
            longer: whether more epochs are no difference.
        """
        free = {
            "run_dir", "checkpoint_steps", "keep_checkpoints", "sample_every", "sample_count",
            "validation_every", "evaluate_every", "tensorboard", "export", "cache_memory",
            "cache_dir", "data_dir", "strategy", "workers", "collective_timeout",
        }  # fmt: skip
        lines = []
        mine, theirs = self.flat(), other.flat()
        for name, value in mine.items():
            more = longer and name == "epochs" and theirs[name] >= value
            if value != theirs[name] and name not in free and not more:
                lines.append(f"`{name}` was {value}, now {theirs[name]}")
        return lines

    def flat(self) -> dict[str, Any]:
        """All settings by their names, those of `measuring` among the others."""
        values = dataclasses.asdict(self)
        return values.pop("measuring") | values


@dataclass(frozen=True)
class ResolvedConfig(Config):
    """A configuration in which nothing is left to a recipe; from `Config.resolved`."""

    image_size: int = 256
    batch_size: int = 1
    filters: int = 64
    epochs: int = 200
    learning_rate: float = 2e-4
    lambda_identity: float = 0.5
