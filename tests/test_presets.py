"""The trained generators that are part of the package."""

from pathlib import Path

import keras
import numpy as np
import pytest

import tfcyclegan
from tfcyclegan.data.shapes import Scene

PRESETS = sorted(Path(tfcyclegan.__file__).parent.glob("presets/*"))


@pytest.mark.parametrize("preset", PRESETS, ids=lambda path: path.name)
def test_a_preset_translates(preset):
    """Keras opens both generators without anything else, and they change pictures, not to noise."""
    assert (preset / "README.md").is_file()
    assert sum(path.stat().st_size for path in preset.iterdir()) < 10_000_000
    for name, striped in (("G", False), ("F", True)):
        generator = keras.saving.load_model(preset / f"{name}.keras")
        picture = Scene(np.random.default_rng(3)).render(128, striped)[0][None] / 127.5 - 1
        translated = generator.predict(picture, verbose=0)
        assert translated.shape == picture.shape
        assert np.abs(translated).max() <= 1
        assert 0.05 < np.abs(translated - picture).mean() < 0.4
        brightness = (image.mean(-1).ravel() for image in (picture, translated))
        assert np.corrcoef(*brightness)[0, 1] > 0.5
