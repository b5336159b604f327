"""What is measured on a run's test pictures, and with what."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

from ..evaluation.pretrained import Pixels

#: Settings of earlier versions that a saved configuration may still hold; loading drops them.
RETIRED = {"extractor_scaling"}


@dataclass(frozen=True)
class Measuring:
    """What is measured on the test pictures, and with what."""

    metrics: str | None = None
    """Metrics to measure, with commas between. Default: all that can be had."""
    test_count: int | None = None
    """Test pictures of each domain to measure on. Default: all."""
    paired: bool = False
    """testA and testB show the same under the same file names: compare with that truth."""
    palette: str | None = None
    """Domain B is label maps in these colours: cityscapes, or a file (`#804080 road` a line)."""
    extractor: str | None = None
    """Network for FID and KID: a name in keras.applications, such as InceptionV3, or a
    .keras file; none for none."""
    extractor_size: int | None = None
    """Side in px that it is shown pictures at. Default: its own."""
    extractor_pixels: Pixels | None = None
    """How it wants its pixels: as in keras.applications (caffe, tf, torch), in [0, 1] (unit) or
    in [0, 255] (none). Default: its own."""
    classifier: str | None = None
    """Network for the hit rate: how many translated pictures it takes for the target domain."""
    classifier_size: int | None = None
    """Side in px that it is shown pictures at. Default: its own."""
    classifier_pixels: Pixels | None = None
    """How it wants its pixels."""
    classes: str | None = None
    """File with the names of the classifier's classes, one a line or a JSON list."""
    class_A: str | None = None
    """Classes of domain A, names or numbers with commas between."""
    class_B: str | None = None
    """Classes of domain B."""

    def over(self, other: Measuring) -> Measuring:
        """These settings, and the other's where nothing is set here.

        What belongs to a network goes with it: another extractor has another size.
        """
        mine = dataclasses.asdict(self).items()
        given = {name: value for name, value in mine if value is not None and value is not False}
        inherited = dataclasses.asdict(other)
        for network, belongings in (("extractor", "extractor_"), ("classifier", "class")):
            if given.get(network, inherited[network]) != inherited[network]:
                inherited |= {name: None for name in inherited if name.startswith(belongings)}
        return Measuring(**{**inherited, **given})
