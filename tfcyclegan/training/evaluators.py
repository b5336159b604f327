"""From settings to an evaluator: which pictures, which networks, which classes."""

from __future__ import annotations

from ..data.test_set import TestSet, load_test_set
from ..errors import InputError
from ..evaluation.evaluator import Evaluator
from ..evaluation.label_maps import load_palette
from ..evaluation.pretrained import Pretrained, class_indices, load_class_names, open_pretrained
from .config import Config
from .measuring import Measuring


def make_evaluator(
    config: Config, extractor: Pretrained | None = None, test_set: TestSet | None = None
) -> Evaluator:
    """Loads the test pictures and networks that a resolved configuration names.

    Args:
        config: from `Config.resolved()`.
        extractor: one that is open already. Default: the configuration's.

    Raises:
        InputError: pictures, networks, classes or metrics that cannot be had.
    """
    how = config.measuring
    if how.palette and not how.paired:
        raise InputError("--palette: label maps are scored against their truth: pass --paired too")
    if how.palette and config.channels_B != 3:
        raise InputError("--palette: label maps have colours: domain B needs --channels-B 3")
    extractor = extractor or open_extractor(how)
    classifier = open_classifier(how)
    classes: dict[str, list[int]] = {"class_A": [], "class_B": []}
    if classifier:
        names = load_class_names(how.classes) if how.classes else None
        classes = {
            side: class_indices(getattr(how, side), names, classifier.width) for side in classes
        }
    return Evaluator(
        test_set or load_config_test_set(config, floor=extractor is not None),
        metrics=how.metrics,
        extractor=extractor,
        classifier=classifier,
        palette=load_palette(how.palette) if how.palette else None,
        class_A=classes["class_A"],
        class_B=classes["class_B"],
    )


def load_config_test_set(config: Config, floor: bool = False) -> TestSet:
    """The test pictures of a resolved configuration; with a floor, real ones to compare with."""
    return load_test_set(
        config.data,
        paired=config.measuring.paired,
        floor=floor,
        test_count=config.measuring.test_count,
        **config.pictures,
    )


def open_extractor(how: Measuring) -> Pretrained | None:
    """The network that FID and KID stand on, or None."""
    if how.extractor in (None, "none"):
        return None
    return open_pretrained(
        how.extractor,
        size=how.extractor_size,
        pixels=how.extractor_pixels,
    )


def open_classifier(how: Measuring) -> Pretrained | None:
    """The network that the hit rate stands on, or None."""
    if how.classifier in (None, "none"):
        return None
    if not (how.class_A and how.class_B):
        raise InputError(
            "--classifier: say which classes count: --class-A sorrel --class-B zebra with "
            "--classes FILE, or by numbers"
        )
    return open_pretrained(
        how.classifier,
        classes=True,
        size=how.classifier_size,
        pixels=how.classifier_pixels,
    )
