"""The generator of pix2pix."""

import pytest
import tensorflow as tf

from tfcyclegan import InputError, unet_generator
from tfcyclegan.networks import default_depth


@pytest.mark.parametrize(("size", "count"), [(256, 54_409_603), (128, 41_825_667)])
def test_weights_of_the_reference(size, count):
    assert unet_generator(size).count_params() == count


def test_depth_follows_the_image_size():
    depths = [default_depth(size) for size in (16, 32, 64, 127, 128, 256, 1024)]
    assert depths == [5, 5, 6, 6, 7, 8, 8]
    with pytest.raises(InputError, match="depth=4: a U-Net needs at least 5 halvings"):
        unet_generator(depth=4)


def test_each_domain_has_its_own_channels():
    network = unet_generator(32, 3, 2, output_channels=1)
    assert network(tf.zeros((1, 32, 64, 3))).shape == (1, 32, 64, 1)


def test_dropout_is_in_the_three_levels_around_the_innermost():
    names = [layer.name for layer in unet_generator(256, filters=1, dropout=0.5).layers]
    assert [n for n in names if "dropout" in n] == ["up7_dropout", "up6_dropout", "up5_dropout"]


def test_same_pixels_as_pytorch(check_pixels):
    check_pixels("unet", unet_generator(32, filters=2))
