"""The settings of the four networks."""

import pytest
from tiny_run import tiny_features

from tfcyclegan import InputError
from tfcyclegan.networks import Architecture, difference, unet_generator

TINY = {"filters": 2, "blocks": 1, "discriminator_filters": 2, "discriminator_layers": 1}


def names(network):
    return [layer.name for layer in network.layers]


def test_networks_follow_the_settings():
    tiny = Architecture(**TINY, channels_B=1, norm="batch", dropout=0.5, bare_first=True)
    G = tiny.build_generator("AtoB", 32, "mixed_bfloat16")
    F = tiny.build_generator("BtoA", 32)
    assert (G.name, G.input_shape[-1], G.output_shape[-1]) == ("G", 3, 1)
    assert (F.name, F.input_shape[-1], F.output_shape[-1]) == ("F", 1, 3)
    assert G.get_layer("d1").compute_dtype == "bfloat16"
    assert {"d1_norm", "r1_dropout", "r1_add"} <= set(names(G))
    assert "c7_in_norm" not in names(G)
    D_B = tiny.build_discriminator("B", 32)
    assert (D_B.name, D_B.input_shape[-1], D_B.get_layer("c1").filters) == ("D_B", 1, 2)
    sigmoid = Architecture(**TINY, sigmoid=True, discriminator_padding="reflect")
    assert {"probability", "c1_pad"} <= set(names(sigmoid.build_discriminator("A", 32)))
    pixel = Architecture(**TINY, discriminator="pixel").build_discriminator("A", 32)
    assert pixel.get_layer("c1").kernel_size == (1, 1)
    unet = Architecture(**TINY, generator="unet", depth=6).build_generator("AtoB", 32)
    assert difference(unet, unet_generator(32, filters=2, depth=6)) is None


def test_divisor():
    assert Architecture().divisor(256) == 4
    assert Architecture(generator="unet").divisor(256) == 256
    assert Architecture(generator="unet", depth=5).divisor(256) == 32


@pytest.mark.parametrize(
    ("message", "settings"),
    [
        ("generator='gan' is unknown: take resnet, unet or fast", {"generator": "gan"}),
        ("discriminator='big' is unknown: take patch, pixel, pro", {"discriminator": "big"}),
        ("discriminator_translation=2: must be below 1", {"discriminator_translation": 2}),
        ("features=x.keras: goes with discriminator=projected", {"features": "x.keras"}),
        ("feature_taps=a: goes with discriminator=projected", {"feature_taps": "a"}),
        ("sigmoid=True needs", {"sigmoid": True, "discriminator": "projected+patch"}),
        ("filters=0: must be at least 1", {"filters": 0}),
        ("depth=4: must be at least 5", {"depth": 4}),
        ("dropout=1.5: must lie between", {"dropout": 1.5}),
        ("sigmoid=True needs discriminator=patch", {"sigmoid": True, "discriminator": "pixel"}),
        ("residual_output=True needs", {"residual_output": True, "channels_A": 1}),
    ],
)
def test_refuses(message, settings):
    with pytest.raises(InputError, match=message):
        Architecture(**settings).check()


def test_several_discriminators(tmp_path):
    tiny_features().save(tmp_path / "features.keras")
    settings = {**TINY, "features": str(tmp_path / "features.keras"), "feature_pixels": "unit"}
    both = Architecture(**settings, discriminator="projected+patch", discriminator_translation=0.1)
    D = both.build_discriminator("A", 32)
    assert (D.name, len(D.outputs), names(D)[1:]) == (
        "D_A",
        3,
        ["translation", "projected", "patch"],
    )
    assert D.get_layer("patch").get_layer("c1").filters == 2
    projected = Architecture(**settings, discriminator="projected").build_discriminator("B", 32)
    assert (projected.name, len(projected.outputs)) == ("D_B", 2)
    moved = Architecture(**TINY, discriminator_translation=0.1).build_discriminator("B", 32)
    assert (moved.name, len(moved.outputs)) == ("D_B", 1)
