"""The settings of evaluation on a run's test pictures."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

from ..networks.features import Pixels


@dataclass(frozen=True)
class Measuring:
    """What is measured on the test pictures, and with which networks."""

    metrics: str | None = None
    """Metrics to measure, separated by commas. Default: all that are possible."""
    test_count: int | None = None
    """Test pictures of each domain to measure on. Default: all."""
    paired: bool = False
    """testA and testB show the same scenes under the same file names: compare translations with
    these true pictures."""
    palette: str | None = None
    """Domain B is label maps in these colours: cityscapes, facades, or a file (`#804080 road` per
    line)."""
    segmenter: str | None = None
    """File of a segmenter, from the command of that name: segments the photographs that F generates
    and compares them with the label maps that went in (the paper's FCN score); none for none."""
    extractor: str | None = None
    """Network for FID and KID: a name in keras.applications, such as InceptionV3, or a
    .keras file; none for no network."""
    extractor_size: int | None = None
    """Side in px that the extractor takes. Default: the network's own."""
    extractor_pixels: Pixels | None = None
    """Pixel values that the extractor takes: as in keras.applications (caffe, tf, torch), in
    [0, 1] (unit) or in [0, 255] (none). Default: the network's own."""
    classifier: str | None = None
    """Network for the hit rate: the share of translations that it assigns to the target domain."""
    classifier_size: int | None = None
    """Side in px that the classifier takes. Default: the network's own."""
    classifier_pixels: Pixels | None = None
    """Pixel values that the classifier takes."""
    classes: str | None = None
    """File with the names of the classifier's classes, one per line or a JSON list."""
    class_A: str | None = None
    """Classes of domain A, names or numbers separated by commas."""
    class_B: str | None = None
    """Classes of domain B."""

    @property
    def label_maps(self) -> bool:
        """Whether domain B is label maps."""
        return self.palette is not None or self.segmenter not in (None, "none")

    def over(self, other: Measuring) -> Measuring:
        """Returns these settings, with those of `other` where nothing is set here.

        A different extractor or classifier does not inherit the settings of the other one, such
        as its size.
        """
        mine = dataclasses.asdict(self).items()
        given = {name: value for name, value in mine if value is not None and value is not False}
        inherited = dataclasses.asdict(other)
        for network, prefix in (("extractor", "extractor_"), ("classifier", "class")):
            if given.get(network, inherited[network]) != inherited[network]:
                inherited |= {name: None for name in inherited if name.startswith(prefix)}
        return Measuring(**{**inherited, **given})
