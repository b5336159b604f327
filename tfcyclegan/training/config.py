"""Every setting of a run, with its default and its meaning, in one dataclass."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

from ..data.preprocessing import Preprocess
from ..directions import Direction
from ..distributed.workers import COLLECTIVE_TIMEOUT, StrategyName
from ..errors import InputError
from ..files import write_text
from ..networks.architecture import Architecture, DiscriminatorName
from ..networks.factory import Alignment, Norm, Residual, check_choice
from ..networks.features import LITE0, Pixels
from ..networks.resnet import default_blocks
from ..precision import Precision, resolve_precision
from .checks import check
from .measuring import Measuring
from .recipes import RECIPES, ModelName, RecipeName, default_recipe


@dataclass(frozen=True)
class Config:
    """The settings of a training run.

    A setting that is None takes its value from the recipe.
    `resolved()` fills in these values, and the run folder's `config.json` holds the result.

    Example:
        >>> Config(data="horse2zebra", image_size=128).resolved().blocks
        6
    """

    model: ModelName = "cyclegan"
    """cyclegan, or pix2pix, which learns from pairs: the same file names in trainA and trainB, or A
    and B side by side in each file of train/ and test/."""
    recipe: RecipeName | None = None
    """Where the settings come from that you do not give: paper, fast (for photographs on a CPU),
    shapes, pix2pix or from-scratch. Default: shapes for the embedded data, pix2pix for that
    model, else paper."""

    # The data

    data: str = "shapes"
    """shapes or shapes-dusk (embedded), a folder with trainA/ trainB/ testA/ testB/, a zip of such
    a folder (FILE.zip:NAME picks one of several), or a TFDS configuration such as horse2zebra."""
    image_size: int | None = None
    """Side of the training pictures in px, a multiple of 4 (U-Net: of 2**depth). Paper: 256."""
    batch_size: int | None = None
    """Pictures of each domain per step. Paper: 1."""
    preprocess: Preprocess | None = None
    """How pictures are brought to image_size. Paper: resize_and_crop."""
    load_size: int | None = None
    """Size in px before cropping. Paper: 286/256 of image_size."""
    flip: bool = True
    """Mirror each picture with probability 1/2."""
    direction: Direction | None = None
    """What a pix2pix translates. Default: AtoB."""
    channels_A: Literal[1, 3] = 3
    """Channels of domain A: 3 for RGB, 1 for grey."""
    channels_B: Literal[1, 3] = 3
    """Channels of domain B."""
    skip_bad_images: bool = False
    """Skip pictures that cannot be used, with a warning, instead of stopping."""
    cache_memory: int = 2048
    """Memory for decoded pictures, in MB; the rest goes to cache_dir."""
    cache_dir: str | None = None
    """Folder for decoded pictures beyond cache_memory. Default: the system's temporary folder."""
    data_dir: str | None = None
    """Folder of TFDS data sets. Default: that of TFDS."""
    initial_weights: str | None = None
    """A run folder or .keras file, for example an imported one, or a folder with G.keras and
    F.keras, whose networks training starts from. The settings of the networks are then those of
    that run; for files without a run you give them."""

    # The networks

    generator: Literal["resnet", "unet", "fast"] | None = None
    """The paper's resnet, the U-Net of pix2pix, or fast: a resnet that starts as its input."""
    filters: int | None = None
    """Channels after a generator's first convolution. Paper: 64."""
    blocks: int | None = None
    """Residual blocks of a resnet. Paper: 9 from 256 px up, 6 below. Default of fast: 6."""
    depth: int | None = None
    """Downsampling steps of a U-Net. Default: 8 from 256 px up, else down to one pixel."""
    norm: Norm | None = None
    """Normalisation in all networks. Paper: instance; pix2pix: batch."""
    use_bias: bool | None = None
    """Biases before normalisation. Default: yes, unless norm is batch."""
    epsilon: float = 1e-5
    """Added to the variance in normalisation. Reference: 1e-5; tensorflow-addons: 1e-3."""
    alignment: Alignment = "torch"
    """Alignment of strided convolutions (tensorflow: as in models that use Keras's padding
    "same")."""
    upsampling: Literal["transposed", "resize"] | None = None
    """Upsampling of a resnet: transposed convolution (paper), or resize and convolve."""
    dropout: float | None = None
    """Dropout rate in the generators. Paper: 0; pix2pix: 0.5."""
    change_penalty: float | None = None
    """Weight of the mean square of the change that a fast generator makes. Default: 0."""
    residual_output: Residual | None = None
    """Generators output the change to the picture instead of the picture (scaled: with a change of
    0, the output is 0.97 times the picture; clipped: it is the picture). Paper: no."""
    bare_first: bool | None = None
    """No norm and no ReLU after a resnet's first convolution (as in some imported models)."""
    downsampling_padding: Literal["zero", "reflect"] | None = None
    """Padding of a resnet's strided convolutions (reflect: as in some imported models)."""
    block_padding: Literal["reflect", "replicate"] = "reflect"
    """Padding of a resnet's blocks (replicate: as in some imported models)."""
    ema_momentum: float | None = None
    """Momentum of the moving averages of the generators' weights, which are then used for
    translation. Paper: 0, no averages."""
    discriminator: DiscriminatorName | None = None
    """PatchGAN (paper), a discriminator of single pixels, a projected one, which sees pictures
    through a pretrained network, or a projected one and a PatchGAN."""
    discriminator_filters: int | None = None
    """Channels after the first convolution of a PatchGAN or pixel discriminator. Paper: 64."""
    discriminator_layers: int | None = None
    """Strided layers of a PatchGAN: 3 sees 70 px (paper), 2 sees 34, 1 sees 16."""
    discriminator_padding: Literal["zero", "reflect"] | None = None
    """Padding of the discriminators (reflect: as in some imported models)."""
    sigmoid: bool | None = None
    """Discriminators output probabilities (as in some imported models). Only with lsgan."""
    discriminator_translation: float | None = None
    """Random translation of pictures in front of the discriminators, as a fraction of their sides.
    Paper: 0."""
    features: str = LITE0
    """The pretrained network of a projected discriminator: efficientnet-lite0 (needs the extra
    projected), one in keras.applications, or a .keras file."""
    feature_taps: str | None = None
    """Its layers whose outputs the discriminator sees, separated by commas. Default: the last one
    at each of the strides 4, 8, 16 and 32."""
    feature_pixels: Pixels | None = None
    """How a .keras file of features expects pixels: tf for [-1, 1], none for [0, 255], unit for
    [0, 1], caffe, or torch."""

    # The objective

    objective: Literal["lsgan", "vanilla", "hinge", "wgan-gp"] | None = None
    """The adversarial loss. Paper: lsgan."""
    lambda_cycle_A: float | None = None
    """Weight of |F(G(a)) - a|. Paper: 10."""
    lambda_cycle_B: float | None = None
    """Weight of |G(F(b)) - b|. Paper: 10."""
    lambda_identity: float | None = None
    """Weight of |G(b) - b| and |F(a) - a|, relative to the cycle weights. Default: 0.5, as in the
    reference; the paper uses it only for painting→photo."""
    lambda_gan: float = 1.0
    """Weight of the adversarial terms. Paper: 1."""
    lambda_L1: float | None = None
    """Weight of the distance to the truth, in a pix2pix. Its paper: 100."""
    discriminators_first: bool | None = None
    """Train the discriminators before the generators in each step. Paper: no."""
    pool_size: int | None = None
    """Generated pictures in the pool of each discriminator. Paper: 50."""

    # How long and how fast

    epochs: int | None = None
    """Passes over the larger domain. Paper: 200."""
    steps_per_epoch: int | None = None
    """Steps per epoch. Default: one pass over the larger domain."""
    learning_rate: float | None = None
    """Learning rate of Adam. Paper: 2e-4."""
    discriminator_learning_rate: float | None = None
    """Learning rate of the discriminators' Adam. Default: learning_rate."""
    beta_1: float | None = None
    """β1 of Adam. Reference: 0.5."""
    beta_2: float | None = None
    """β2 of Adam. Reference: 0.999."""
    constant_fraction: float | None = None
    """Fraction of the run before the learning rate falls linearly to zero. Paper: half."""

    # The run

    run_dir: str | None = None
    """Folder of the run. Default: runs/NAME of the data, with a number if that exists."""
    seed: int = 0
    """Seed of initial weights, data order, augmentation and random draws."""
    precision: Precision = "auto"
    """auto: float16 on GPUs with tensor cores, bfloat16 on CPUs that support it, else float32."""
    strategy: StrategyName = "auto"
    """Devices to train on: one (none), all GPUs of this machine (mirrored), those of all workers
    in TF_CONFIG (multiworker), or those of workers that Ray starts (ray). auto uses what is
    available. batch_size is the total over all devices."""
    workers: int | None = None
    """Number of workers that Ray starts. Only with strategy ray."""
    collective_timeout: float = COLLECTIVE_TIMEOUT
    """Seconds that a worker may keep the others waiting, as the chief does when it evaluates."""
    recompute: bool = False
    """Recompute activations instead of keeping them, for pictures that do not fit into memory."""
    xla: Literal["auto", "on", "off"] = "auto"
    """Compile the training step with XLA. auto leaves that to Keras, which does not on a CPU."""
    deterministic: bool = False
    """Give bit for bit the same result every time, at some cost in speed."""
    checkpoint_steps: int | None = None
    """Steps between checkpoints. Default: one at the end of every epoch."""
    keep_checkpoints: int = 3
    """Number of checkpoints to keep, the newest ones."""
    sample_every: int = 1
    """Epochs between sample grids; 0 for only one, at the end."""
    sample_count: int = 6
    """Pictures of each domain in a grid."""
    validation_every: int = 0
    """Epochs between computations of the losses on the test pictures; 0 for never."""
    evaluate_every: int = 0
    """Epochs between evaluations on the test pictures, logged with the losses; 0 for only one, at
    the end."""
    best_by: str | None = None
    """Score that selects best.keras: psnr, kid, AtoB_kid, …. Default: psnr if the truth is known,
    else kid if there is an extractor, else hit_rate."""
    tensorboard: bool = True
    """Write TensorBoard logs."""
    export: bool = True
    """Export the generators at the end, to exports/NAME of the run."""
    measuring: Measuring = field(default_factory=Measuring)
    """What is measured on the test pictures."""

    @property
    def divisor(self) -> int:
        """The number that sides of pictures must be multiples of."""
        return self.architecture.divisor(self.image_size or 256)

    @property
    def architecture(self) -> Architecture:
        """The settings that describe the networks. None stands for the paper's."""
        names = (field.name for field in dataclasses.fields(Architecture))
        given = {name: getattr(self, name) for name in names}
        return Architecture(**{name: value for name, value in given.items() if value is not None})

    @property
    def pictures(self) -> dict[str, Any]:
        """How pictures are read: arguments that `load_data` and `load_test_set` share."""
        names = (
            "image_size", "preprocess", "channels_A", "channels_B", "divisor", "skip_bad_images",
            "data_dir",
        )  # fmt: skip
        return {name: getattr(self, name) for name in names}

    def resolved(self) -> ResolvedConfig:
        """Returns a copy with the values of the recipe filled in, and the precision chosen.

        Raises:
            InputError: a setting is not valid.
        """
        values = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        check_choice("model", self.model, get_args(ModelName))
        values["recipe"] = self.recipe or default_recipe(self.data, self.model)
        check_choice("recipe", values["recipe"], tuple(RECIPES))
        if (values["recipe"] == "pix2pix") != (self.model == "pix2pix"):
            raise InputError(
                f"recipe={values['recipe']}: not for model={self.model}: leave `recipe` out"
            )
        recipe = RECIPES[values["recipe"]]
        values |= {name: value for name, value in recipe.items() if values[name] is None}
        if values["generator"] != "fast" and self.change_penalty is None:
            values["change_penalty"] = None  # only a fast generator has it
        if values["blocks"] is None:
            fast = values["generator"] == "fast"
            values["blocks"] = 6 if fast else default_blocks(values["image_size"])
        if values["load_size"] is None and values["recipe"] == "from-scratch":
            values["load_size"] = values["image_size"]
        if self.model == "pix2pix":  # its test pictures are pairs too
            values["measuring"] = dataclasses.replace(self.measuring, paired=True)
        values["precision"] = resolve_precision(self.precision)[0]
        config = ResolvedConfig(**values)
        check(config)
        return config

    def to_json(self) -> str:
        """Returns the settings as JSON, for `from_json`."""
        return json.dumps(dataclasses.asdict(self), indent=2) + "\n"

    @classmethod
    def from_json(cls, text: str) -> Config:
        """Reads the settings from the output of `to_json`.

        Raises:
            ValueError, TypeError, AttributeError: the text is not a configuration.
        """
        values = json.loads(text)
        # A file of version 0.1 has no recipe, and older files lack settings that came later.
        values.setdefault("recipe", default_recipe(values.get("data", "")))
        values = RECIPES.get(values["recipe"], {}) | values
        measuring = values.pop("measuring", {})
        # Version 0.1 had this setting.
        if (value := measuring.pop("extractor_scaling", None)) not in (None, "none"):
            raise ValueError(f"the setting extractor_scaling={value} was removed")
        return cls(**values, measuring=Measuring(**measuring))

    def save(self, path: str | Path) -> None:
        """Writes the settings to a file, as JSON."""
        write_text(path, self.to_json())

    @classmethod
    def load(cls, path: str | Path) -> Config:
        """Reads a file that `save` wrote.

        Raises:
            InputError: there is no such file, or it is not a configuration.
        """
        try:
            return cls.from_json(Path(path).read_text())
        except FileNotFoundError as problem:
            raise InputError(f"{path}: there is no such file") from problem
        except (OSError, ValueError, TypeError, AttributeError) as problem:
            raise InputError(
                f"{path}: not a configuration of this version ({problem}): "
                "start a new run, or correct the file"
            ) from problem

    def differences(self, other: Config, longer: bool = True) -> list[str]:
        """Lists the settings that keep a run from being resumed with `other`.

        Intervals, folders, caches and devices may change.

        Args:
            other: the settings to resume with.
            longer: bool, whether the number of epochs may increase. Default True.

        Returns:
            A message for each setting.
        """
        free = {
            "run_dir", "checkpoint_steps", "keep_checkpoints", "sample_every", "sample_count",
            "validation_every", "evaluate_every", "tensorboard", "export", "cache_memory",
            "cache_dir", "data_dir", "strategy", "workers", "collective_timeout",
        }  # fmt: skip
        mine, theirs = self.flat(), other.flat()
        if longer and theirs["epochs"] >= mine["epochs"]:
            free.add("epochs")
        return [
            f"`{name}` was {value}, now {theirs[name]}"
            for name, value in mine.items()
            if name not in free and value != theirs[name]
        ]

    def flat(self) -> dict[str, Any]:
        """Returns all settings by name, with those of `measuring` among them."""
        values = dataclasses.asdict(self)
        return values.pop("measuring") | values


@dataclass(frozen=True)
class ResolvedConfig(Config):
    """A configuration without gaps, from `Config.resolved`."""

    image_size: int = 256
    batch_size: int = 1
    filters: int = 64
    epochs: int = 200
    learning_rate: float = 2e-4
    constant_fraction: float = 0.5
    generator: Literal["resnet", "unet", "fast"] = "resnet"
    discriminator: DiscriminatorName = "patch"
    objective: Literal["lsgan", "vanilla", "hinge", "wgan-gp"] = "lsgan"
    ema_momentum: float = 0.0
    sigmoid: bool = False
    lambda_cycle_A: float = 10.0
    lambda_cycle_B: float = 10.0
    lambda_identity: float = 0.5
