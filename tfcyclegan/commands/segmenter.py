"""`tfcyclegan segmenter`: trains the segmenter behind the paper's FCN score."""

from __future__ import annotations

from pathlib import Path

from ..errors import InputError
from ..evaluation.label_maps import load_palette
from ..evaluation.metrics import METRICS
from ..evaluation.segmentation import train_segmenter
from ..files import atomic_write
from .tables import print_table


def segmenter(
    data: str,
    palette: str,
    to: str,
    image_size: int = 128,
    epochs: int = 40,
    batch_size: int = 8,
    filters: int = 24,
    seed: int = 0,
) -> int:
    """Train a network that segments photographs, to measure generated ones with.

    It learns from the pairs of the training half, photographs in A and label maps in B, and prints
    its own scores on the real photographs of the test half: generated photographs cannot be
    expected to reach more. Use it with evaluate --segmenter and reproduce table2 --segmenter.

    Args:
        data: A folder or zip of pairs, as in train --model pix2pix.
        palette: Classes of the label maps: cityscapes, facades, or a file (`#804080 road` per
            line).
        to: The file to write, a .keras file.
        image_size: Side in px.
        epochs: Passes over the training half.
        batch_size: Photographs per step.
        filters: Channels at the size of the picture.
        seed: Of initial weights, order and augmentation.
    """
    path = Path(to)
    if path.suffix != ".keras":
        raise InputError(f"to={to}: name a .keras file")
    if path.exists():
        raise InputError(f"to={to}: there is something already: give another `to`")
    network, scores = train_segmenter(
        data, load_palette(palette), image_size=image_size, epochs=epochs, batch_size=batch_size,
        filters=filters, seed=seed, name=path.stem,
        on_epoch=lambda epoch, loss: print(f"epoch {epoch}/{epochs}: loss {loss:.3f}", flush=True),
    )  # fmt: skip
    with atomic_write(path) as part:
        network.save(part)
    rows = [("", "real photographs")]
    rows += [(METRICS[name].label, METRICS[name].show(value)) for name, value in scores.items()]
    print_table(f"{path}: the ceiling", rows)
    return 0
