"""What a network shows of itself."""

import keras
import pytest

from tfcyclegan import (
    InputError,
    patch_discriminator,
    pixel_discriminator,
    resnet_generator,
    unet_generator,
)
from tfcyclegan.networks.inspection import (
    check_channels,
    difference,
    divisor,
    ends_in_sigmoid,
    least_size,
)


def test_the_first_difference_in_words():
    def network(*arguments, **settings):
        return resnet_generator(32, *arguments, filters=2, blocks=1, **settings)

    base = network()
    assert difference(base, network(dtype="mixed_bfloat16", dropout=0.5)) is None
    assert difference(base, network(epsilon=1e-3)) == "epsilon of c7_in_norm is 1e-05 and 0.001"
    assert difference(base, network(1)) == "channels of images is 3 and 1"
    assert difference(base, network(bare_first=True)) == "c7_in_norm in one is d1_pad in the other"
    longer = keras.Model(base.input, keras.layers.ReLU()(base.output))
    assert difference(base, longer) == f"{len(base.layers)} layers and {len(longer.layers)}"


def test_sizes_that_a_generator_takes():
    resnet, unet = resnet_generator(32, filters=1, blocks=0), unet_generator(32, filters=1)
    assert (divisor(resnet), least_size(resnet)) == (4, 8)
    assert (divisor(unet), least_size(unet)) == (32, 32)
    images = keras.Input((None, None, 3))
    assert divisor(keras.Model(images, resnet(images))) == 4


def test_channels_must_fit_together():
    def networks(**replaced):
        G = resnet_generator(32, 1, 1, 0, output_channels=3)
        F = resnet_generator(32, 3, 1, 0, output_channels=1)
        D_A, D_B = (patch_discriminator(32, channels, 1, 1) for channels in (1, 3))
        return {"G": G, "F": F, "D_A": D_A, "D_B": D_B, **replaced}

    assert check_channels(**networks()) == (1, 3)
    grey, colour = (patch_discriminator(32, channels, 1, 1) for channels in (1, 3))
    for message, replaced in (
        ("G outputs pictures of 1 channels", {"G": resnet_generator(32, 1, 1, 0)}),
        ("D_A reads pictures of 3 channels", {"D_A": colour}),
        ("D_B reads pictures of 1 channels", {"D_B": grey}),
    ):
        with pytest.raises(InputError, match=message):
            check_channels(**networks(**replaced))


def test_ends_in_sigmoid():
    small = {"filters": 1, "layers": 1}
    assert ends_in_sigmoid(patch_discriminator(32, sigmoid=True, **small))
    assert not ends_in_sigmoid(patch_discriminator(32, **small))
    assert not ends_in_sigmoid(pixel_discriminator(filters=1))
