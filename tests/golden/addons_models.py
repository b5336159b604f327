"""Makes addons_models.zip: files of CycleGANs with tensorflow-addons, and their outputs.

    make test-addons       makes new files and tests them, in a separate environment
    make golden-addons     makes tests/golden/addons_models.zip

It needs the packages of requirements-addons.txt (Python 3.9 to 3.11). The networks are those of
the CycleGAN example on Keras's site, rewritten: instance norm of tensorflow-addons with scale and
shift, no biases before a norm, padding "same". LynnHo/CycleGAN-Tensorflow-2 has the same networks,
with TensorFlow's functions in place of layers without weights.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import zipfile
from collections.abc import Sequence
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import numpy as np
import tensorflow as tf
import tensorflow_addons as tfa
from tensorflow import keras
from tensorflow.keras import layers


class ReflectionPadding2D(layers.Layer):
    """The example's layer. It has no configuration, so whole models cannot be saved as HDF5."""

    def __init__(self, padding: tuple[int, int] = (1, 1), **kwargs: object):
        super().__init__(**kwargs)
        self.padding = tuple(padding)

    def call(self, x: tf.Tensor) -> tf.Tensor:
        across, down = self.padding
        return tf.pad(x, [[0, 0], [down, down], [across, across], [0, 0]], "REFLECT")


class ConfiguredReflectionPadding2D(ReflectionPadding2D):
    """The same with a configuration, so that whole models can be saved as HDF5."""

    def get_config(self) -> dict:
        return {**super(ReflectionPadding2D, self).get_config(), "padding": self.padding}


def normed(x: tf.Tensor, activation: str | None, epsilon: float) -> tf.Tensor:
    x = tfa.layers.InstanceNormalization(epsilon=epsilon)(x)
    return layers.Activation(activation)(x) if activation else x


def generator(
    name: str,
    filters: int,
    blocks: int,
    pad: type = ConfiguredReflectionPadding2D,
    size: int | None = None,
    epsilon: float = 1e-3,
) -> keras.Model:
    inputs = layers.Input((size, size, 3))
    x = layers.Conv2D(filters, 7, use_bias=False)(pad((3, 3))(inputs))
    x = normed(x, "relu", epsilon)
    for factor in (2, 4):
        x = layers.Conv2D(filters * factor, 3, 2, padding="same", use_bias=False)(x)
        x = normed(x, "relu", epsilon)
    for _ in range(blocks):
        y = layers.Conv2D(filters * 4, 3, use_bias=False)(pad()(x))
        y = normed(y, "relu", epsilon)
        y = layers.Conv2D(filters * 4, 3, use_bias=False)(pad()(y))
        x = layers.add([x, normed(y, None, epsilon)])
    for factor in (2, 1):
        x = layers.Conv2DTranspose(filters * factor, 3, 2, padding="same", use_bias=False)(x)
        x = normed(x, "relu", epsilon)
    x = layers.Conv2D(3, 7)(pad((3, 3))(x))
    return keras.Model(inputs, layers.Activation("tanh")(x), name=name)


def lynnho_generator(filters: int, blocks: int) -> keras.Model:
    def pad(x: tf.Tensor, amount: int) -> tf.Tensor:
        return tf.pad(x, [[0, 0], [amount] * 2, [amount] * 2, [0, 0]], "REFLECT")

    def normed(x: tf.Tensor) -> tf.Tensor:
        return tfa.layers.InstanceNormalization()(x)

    inputs = layers.Input((32, 32, 3))
    x = tf.nn.relu(normed(layers.Conv2D(filters, 7, use_bias=False)(pad(inputs, 3))))
    for factor in (2, 4):
        x = layers.Conv2D(filters * factor, 3, 2, padding="same", use_bias=False)(x)
        x = tf.nn.relu(normed(x))
    for _ in range(blocks):
        y = tf.nn.relu(normed(layers.Conv2D(filters * 4, 3, use_bias=False)(pad(x, 1))))
        x = layers.add([x, normed(layers.Conv2D(filters * 4, 3, use_bias=False)(pad(y, 1)))])
    for factor in (2, 1):
        x = layers.Conv2DTranspose(filters * factor, 3, 2, padding="same", use_bias=False)(x)
        x = tf.nn.relu(normed(x))
    return keras.Model(inputs, tf.tanh(layers.Conv2D(3, 7)(pad(x, 3))))


def lynnho_discriminator(filters: int) -> keras.Model:
    inputs = layers.Input((32, 32, 3))
    x = tf.nn.leaky_relu(layers.Conv2D(filters, 4, 2, padding="same")(inputs), alpha=0.2)
    for factor, strides in ((2, 2), (4, 2), (8, 1)):
        x = layers.Conv2D(filters * factor, 4, strides, padding="same", use_bias=False)(x)
        x = tf.nn.leaky_relu(tfa.layers.InstanceNormalization()(x), alpha=0.2)
    return keras.Model(inputs, layers.Conv2D(1, 4, padding="same")(x))


def discriminator(name: str, filters: int) -> keras.Model:
    inputs = layers.Input((None, None, 3))
    x = layers.LeakyReLU(0.2)(layers.Conv2D(filters, 4, 2, padding="same")(inputs))
    for factor, strides in ((2, 2), (4, 2), (8, 1)):
        x = layers.Conv2D(filters * factor, 4, strides, padding="same", use_bias=False)(x)
        x = layers.LeakyReLU(0.2)(normed(x, None, 1e-3))
    return keras.Model(inputs, layers.Conv2D(1, 4, padding="same")(x), name=name)


class CycleGan(keras.Model):
    """Has the four networks under the example's names. Checkpoints also have its optimizers."""

    def __init__(self, filters: int, blocks: int):
        super().__init__()
        self.gen_G = generator("generator_G", filters, blocks, ReflectionPadding2D, 32)
        self.gen_F = generator("generator_F", filters, blocks, ReflectionPadding2D, 32)
        self.disc_X = discriminator("discriminator_X", filters)
        self.disc_Y = discriminator("discriminator_Y", filters)
        self.gen_G_optimizer = keras.optimizers.legacy.Adam(2e-4, beta_1=0.5)
        self.gen_F_optimizer = keras.optimizers.Adam(2e-4, beta_1=0.5)

    def step(self, images: tf.Tensor) -> None:
        """Takes a step, which creates the slots of the optimizers."""
        for network, optimizer in (
            (self.gen_G, self.gen_G_optimizer),
            (self.gen_F, self.gen_F_optimizer),
        ):
            with tf.GradientTape() as tape:
                loss = tf.reduce_mean(network(images))
            weights = network.trainable_variables
            gradients = tape.gradient(loss, weights)
            optimizer.apply_gradients(zip(gradients, weights))  # noqa: B905 (Python 3.9)


def randomise(model: keras.Model, random: np.random.Generator) -> None:
    """Sets random weights: no gamma is one, no beta is zero."""
    for weight in model.weights:
        wide = len(weight.shape) > 1
        weight.assign(random.normal(0.0 if wide else 0.4, 0.2, weight.shape))


def make(
    folder: Path, seed: int, filters: int, blocks: int, photographs: Sequence[Path] = ()
) -> None:
    random = np.random.default_rng(seed)
    images = random.uniform(-1, 1, (2, 32, 32, 3)).astype(np.float32)
    odd = random.uniform(-1, 1, (1, 45, 38, 3)).astype(np.float32)
    outputs = {"images": images, "odd": odd}

    model = CycleGan(filters, blocks)
    for name in ("gen_G", "gen_F", "disc_X", "disc_Y"):
        randomise(getattr(model, name), random)
    model.step(tf.constant(images))
    for name in ("gen_G", "gen_F", "disc_X", "disc_Y"):
        network = getattr(model, name)
        outputs[name] = network(images).numpy()
        if name.startswith("disc"):
            outputs[f"{name}/odd"] = network(odd).numpy()
    model.save_weights(str(folder / "checkpoint" / "cyclegan_checkpoints.003"))
    model.save_weights(str(folder / "cyclegan.h5"))
    model.gen_G.save_weights(str(folder / "gen_G.h5"))

    lynnho = {name: lynnho_generator(filters, blocks) for name in ("G_A2B", "G_B2A")}
    lynnho |= {name: lynnho_discriminator(filters) for name in ("D_A", "D_B")}
    for name, network in lynnho.items():
        randomise(network, random)
        outputs[f"lynnho/{name}"] = network(images).numpy()
    tf.train.Checkpoint(**lynnho, ep_cnt=tf.Variable(3)).save(str(folder / "lynnho" / "ckpt"))
    lynnho["G_A2B"].save(str(folder / "lynnho_whole.h5"))
    lynnho["G_A2B"].save_weights(str(folder / "lynnho_weights.h5"))
    lynnho["G_A2B"].save_weights(str(folder / "lynnho.weights.h5"))

    whole = generator("whole", filters, blocks, epsilon=1e-4)
    randomise(whole, random)
    outputs["whole"] = whole(images).numpy()
    if photographs:
        decoded = [tf.io.decode_jpeg(tf.io.read_file(str(path)), 3) for path in photographs]
        outputs["real/images"] = tf.cast(tf.stack(decoded), tf.float32).numpy() / 127.5 - 1
        outputs["real"] = whole(outputs["real/images"]).numpy()
    whole.save(str(folder / "whole.h5"))
    # A model of another form.
    inputs = layers.Input((None, None, 3))
    x = layers.Conv2D(4, 7, use_bias=False)(layers.ZeroPadding2D(3)(inputs))
    x = layers.BatchNormalization()(x)
    keras.Model(inputs, layers.Conv2D(3, 7, padding="same")(x)).save(str(folder / "other.h5"))

    # The norm by itself, also for constant pictures and large numbers.
    x = random.normal(3, 2, (3, 5, 7, 4)).astype(np.float32)
    x[1] *= 1e3
    x[2, ..., 0] = 0.25
    for name, epsilon in (("default", 1e-3), ("small", 1e-5)):
        norm = tfa.layers.InstanceNormalization(epsilon=epsilon)
        norm.build(x.shape)
        randomise(norm, random)
        outputs[f"norm/{name}"] = norm(x).numpy()
        outputs[f"norm/{name}/gamma"], outputs[f"norm/{name}/beta"] = norm.get_weights()
    outputs["norm/images"] = x
    np.savez(folder / "outputs.npz", **outputs)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--to", type=Path, help="a folder, instead of the zip")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--filters", type=int, default=2)
    parser.add_argument("--blocks", type=int, default=1)
    arguments = parser.parse_args()
    settings = (arguments.seed, arguments.filters, arguments.blocks)
    versions = f"TensorFlow {tf.__version__}, tensorflow-addons {tfa.__version__}"
    if arguments.to:
        arguments.to.mkdir(parents=True, exist_ok=True)
        data = Path(os.environ.get("TFCYCLEGAN_DATA") or "nowhere", "horse2zebra", "testA")
        make(arguments.to, *settings, sorted(data.glob("*.jpg"))[:2])
        print(f"{arguments.to}: made with {versions}")
        return
    path = Path(__file__).with_name("addons_models.zip")
    with tempfile.TemporaryDirectory() as folder:
        make(Path(folder), *settings)
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
            for file in sorted(p for p in Path(folder).rglob("*") if p.is_file()):
                name = zipfile.ZipInfo(file.relative_to(folder).as_posix())
                archive.writestr(name, file.read_bytes(), zipfile.ZIP_DEFLATED, 9)
    print(f"{path}: {path.stat().st_size:,} bytes, {versions}")


if __name__ == "__main__":
    main()
