"""Pictures from their source into a store: decoded and resized once, on all cores."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from ..errors import InputError
from ..parallel import map_in_order
from .preprocessing import Preprocessing
from .sources import Picture
from .store import MemoryBudget, PictureStore


def read(
    pictures: Iterable[Picture],
    label: str,
    preprocessing: Preprocessing,
    *,
    training: bool,
    budget: MemoryBudget,
    skipped: list[str] | None = None,
) -> PictureStore:
    """Reads pictures, in their order.

    Args:
        pictures: of one split.
        label: what to call the split in a message.
        preprocessing: how each is resized.
        training: whether room is left for a random crop.
        budget: memory that the pictures may take.
        skipped: takes the problems of pictures that cannot be used, which are then left out.
            Default: the first such picture is an error.

    Raises:
        InputError: a picture that cannot be used, or none that can.
    """

    def prepare(picture: Picture) -> tuple[str, np.ndarray | InputError]:
        try:
            image = picture.open()
            return picture.name, preprocessing.fixed(image, picture.name, training)
        except InputError as problem:
            return picture.name, problem

    store = PictureStore(budget, preprocessing.channels)
    for name, pixels in map_in_order(prepare, pictures):
        if not isinstance(pixels, InputError):
            store.add(pixels, name)
        elif skipped is None:
            raise pixels
        else:
            skipped.append(str(pixels))
    if not len(store):
        raise InputError(f"{label}: none of the pictures can be used")
    store.close()
    return store
