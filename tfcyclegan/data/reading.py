"""From a source to stores of its pictures, each decoded and resized once, on all cores."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np

from ..errors import InputError
from ..parallel import map_in_order
from .preprocessing import Preprocessing
from .sources import Picture, Source
from .store import MemoryBudget, PictureStore

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Reader:
    """How the pictures of a source are read.

    Attributes:
        source: from `find_source`.
        preparation: how pictures of domains "A" and "B" are resized.
        budget: memory that they may take.
        skip_bad_images: whether to leave out pictures that cannot be used, with a warning.
        skipped: a message for each picture that was left out.
    """

    source: Source
    preparation: Mapping[str, Preprocessing]
    budget: MemoryBudget
    skip_bad_images: bool = False
    skipped: list[str] = field(default_factory=list)

    def read(
        self, split: str, pictures: Iterable[Picture] | None = None, training: bool = False
    ) -> PictureStore:
        """Reads pictures in their order.

        Args:
            split: "trainA", "trainB", "testA" or "testB".
            pictures: those of the split to read. Default: all.
            training: whether to leave room for a random crop.

        Raises:
            InputError: a picture that cannot be used, or none that can.
        """
        label, how = f"{self.source.name} {split}", self.preparation[split[-1]]

        def prepare(picture: Picture) -> tuple[str, np.ndarray | InputError]:
            try:
                return picture.name, how.fixed(picture.open(), picture.name, training)
            except InputError as problem:
                return picture.name, problem

        store, problems = PictureStore(self.budget, how.channels), []
        chosen = self.source.pictures(split) if pictures is None else pictures
        for name, pixels in map_in_order(prepare, chosen):
            if not isinstance(pixels, InputError):
                store.add(pixels, name)
            elif self.skip_bad_images:
                problems.append(str(pixels))
            else:
                raise pixels
        if problems:
            said = "%s: left out %d pictures that cannot be used: %s"
            logger.warning(said, label, len(problems), "; ".join(problems))
            self.skipped.extend(problems)
        if not len(store):
            raise InputError(f"{label}: none of the pictures can be used")
        store.close()
        return store
