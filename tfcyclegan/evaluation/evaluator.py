"""Measures generators on a test set, compared with doing nothing and with real pictures."""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

import keras
import numpy as np
import tensorflow as tf

from ..data.preprocessing import to_float, to_uint8
from ..data.test_set import TestSet
from ..directions import Direction
from ..errors import InputError
from ..networks.twins import with_precision
from .distributions import diversity, fid, kid
from .label_maps import Palette, class_scores, label_scores
from .metrics import METRICS, choose_metrics
from .pairs import coat_scores, similarity
from .pretrained import Pretrained
from .result import Evaluation, Example
from .segmentation import Segmenter
from .tint import tint_shift

#: Number of best and of worst translations that are kept as examples.
EXAMPLES = 4


class _Side(NamedTuple):
    """The test set as one direction sees it; see `TestSet`."""

    source: Sequence[np.ndarray]
    target: Sequence[np.ndarray]
    names: Sequence[str]
    truth: Sequence[np.ndarray] | None
    masks: np.ndarray | None
    real: Sequence[np.ndarray]

    @property
    def same_channels(self) -> bool:
        return self.source[0].shape[-1] == self.target[0].shape[-1]


class Evaluator:
    """Measures generators on one test set, as often as it is called.

    Generators compute in float32, whatever precision they were trained in. Translations are
    rounded to 8 bits, as in a file, before they are compared; only the round trip is not rounded.

    Args:
        test_set: test pictures, from `load_test_set`.
        metrics: metric names separated by commas, from `METRICS`. Default: all that are available.
        extractor: network for FID, KID and the diversity of features. Default: none, without them.
        classifier: network for the hit rate. Default: none, without it.
        class_A: classes of the classifier that count as domain A.
        class_B: classes that count as domain B.
        palette: the classes of domain B, if it is label maps of a paired test set.
        segmenter: a `Segmenter` of photographs, if domain B is label maps: what F generates is
            segmented and compared with the label maps that went in (the paper's FCN score).
        batch_size: int, pictures in a batch. Default 8.

    Raises:
        InputError: an unknown metric, or one whose needs are not met.

    Example:
        ```python
        evaluator = Evaluator(load_test_set("horse2zebra", image_size=64), extractor=look)
        evaluator(model.translators).scores["AtoB"]["kid"]
        ```
    """

    def __init__(
        self,
        test_set: TestSet,
        *,
        metrics: str | None = None,
        extractor: Pretrained | None = None,
        classifier: Pretrained | None = None,
        class_A: Sequence[int] = (),
        class_B: Sequence[int] = (),
        palette: Palette | None = None,
        segmenter: Segmenter | None = None,
        batch_size: int = 8,
    ):
        self.test_set = test = test_set
        self._sides = {
            "AtoB": _Side(test.A, test.B, test.names_A, test.truth_A, test.masks_A, test.train_B),
            "BtoA": _Side(test.B, test.A, test.names_B, test.truth_B, test.masks_B, test.train_A),
        }
        there = {
            "truth": test_set.truth_A is not None,
            "masks": test_set.masks_A is not None,
            "palette": segmenter is not None
            or (palette is not None and test_set.truth_A is not None),
            "extractor": extractor is not None,
            "classifier": classifier is not None,
        }
        self.metrics = choose_metrics(metrics, there)
        needs = {METRICS[name].needs for name in self.metrics}
        self._extractor = extractor if "extractor" in needs else None
        self._classifier = classifier if "classifier" in needs else None
        self.palette = palette if "palette" in needs else None
        self.segmenter = segmenter if "palette" in needs else None
        self._round_trip = "cycle" in needs
        self._classes = {"A": list(class_A), "B": list(class_B)}
        self._batch_size = batch_size
        self._twins: dict[str, tuple[keras.Model, keras.Model, Callable]] = {}
        # These are the same for every model, so they are measured once.
        self._baselines: dict[str, dict[str, dict[str, float]]] = {}
        self._features: dict[str, np.ndarray] = {}
        self._notes: dict[str, None] = {}  # a set that keeps its order

    def __call__(self, generators: Mapping[Direction, keras.Model]) -> Evaluation:
        """Measures G as "AtoB" and F as "BtoA", or only one of them.

        Raises:
            InputError: pictures that a generator does not take, or a generator whose output is
                not finite.
        """
        runs: dict[str, Callable] = {
            way: self._runner(way, network) for way, network in generators.items()
        }
        scores: dict[str, dict[str, dict[str, float]]] = {}
        examples: dict[str, list[Example]] = {}
        for way in runs:
            translated, own, shown = self._translate(way, runs)
            columns = {"translated": {**self._compare(way, translated, "translated"), **own}}
            columns |= self._baseline(way)
            scores[way] = {
                name: {column: values[name] for column, values in columns.items() if name in values}
                for name in (*self.metrics, "kid_std")
                if name in columns["translated"]
            }
            if shown:
                examples[way] = shown
        test = self.test_set
        splits = {
            "test_A": test.A, "test_B": test.B, "train_A": test.train_A, "train_B": test.train_B
        }  # fmt: skip
        notes = list(self._notes)
        if len(runs) == 1 and self._round_trip:
            notes.append("the round trip is left out: it needs both generators")
        classifier = self._classifier
        return Evaluation(
            data=test.name,
            pictures={split: len(pictures) for split, pictures in splits.items() if pictures},
            scores=scores,
            extractor=self._extractor.describe() if self._extractor else None,
            classifier={**classifier.describe(), "classes": self._classes} if classifier else None,
            palette=self.palette.name if self.palette else None,
            segmenter=self.segmenter.describe() if self.segmenter else None,
            notes=notes,
            examples=examples,
        )

    def scores_of(self, way: Direction, pictures: Sequence[np.ndarray]) -> dict[str, float]:
        """Scores of translations of all test pictures of a direction that were made elsewhere.

        Args:
            way: the direction.
            pictures: uint8 `[H, W, C]` each, in the order of the test pictures.

        Returns:
            Metric → value, without those that need the generators.
        """
        found = self._compare(way, pictures, "translated")
        return {name: found[name] for name in self.metrics if name in found}

    def _runner(self, way: str, network: keras.Model) -> Callable[[np.ndarray], np.ndarray]:
        """The generator in float32. It is traced once and then follows its network's weights."""
        takes, there = network.input_shape[-1], self._sides[way].source[0].shape[-1]
        if takes != there:
            raise InputError(
                f"the {way} generator takes pictures of {takes} channels, but those of {way[0]} "
                f"have {there}"
            )
        if way not in self._twins or self._twins[way][0] is not network:
            twin = with_precision(network, "float32")
            traced = tf.function(
                lambda images: twin(images, training=False),
                input_signature=[tf.TensorSpec((None, None, None, takes), tf.float32)],
                autograph=False,
            )
            self._twins[way] = (network, twin, traced)
        _, twin, traced = self._twins[way]
        twin.set_weights(network.get_weights())

        def run(images: np.ndarray) -> np.ndarray:
            drawn = traced(images).numpy()
            if not np.isfinite(drawn).all():
                raise InputError(
                    f"the {way} generator's output is not finite: train again, or evaluate an "
                    "earlier checkpoint"
                )
            return drawn

        return run

    def _batches(self, *columns: Iterable[np.ndarray]) -> Iterator[tuple[np.ndarray, ...]]:
        """Batches of consecutive pictures of one size; uint8 `[N, H, W, C]`."""
        for _, rows in itertools.groupby(zip(*columns, strict=True), lambda row: row[0].shape):
            while batch := list(itertools.islice(rows, self._batch_size)):
                yield tuple(map(np.stack, zip(*batch, strict=True)))

    def _translate(
        self, way: str, runs: Mapping[str, Callable]
    ) -> tuple[list[np.ndarray], dict[str, float], list[Example]]:
        """All translations of a direction, the scores that need its generators, and examples."""
        side = self._sides[way]
        back = runs.get("BtoA" if way == "AtoB" else "AtoB") if self._round_trip else None
        translated: list[np.ndarray] = []
        cycled: list[np.ndarray] = []
        found: list[dict[str, np.ndarray]] = []
        for (pixels,) in self._batches(side.source):
            images = to_float(pixels).numpy()
            drawn = runs[way](images)
            translated += list(to_uint8(drawn))
            if back:
                again = back(drawn)
                cycled += list(to_uint8(again))
                found.append({f"cycle_{k}": v for k, v in similarity(again, images).items()})
        own = _means(found)
        if side.source[0].shape[-1] == translated[0].shape[-1] == 3:
            shifts = tint_shift(side.source, translated)
            own |= {name: shifts[name] for name in shifts if name in self.metrics}
        if "identity_l1" in self.metrics and side.same_channels:
            batches = (to_float(pixels).numpy() for (pixels,) in self._batches(side.target))
            changes = [np.mean(np.abs(runs[way](x) - x), axis=(1, 2, 3)) for x in batches]
            own["identity_l1"] = float(np.mean(np.concatenate(changes)))
        if "diversity" in self.metrics:
            own |= self._diversity("diversity", _thumbnails(translated), _thumbnails(side.source))
        if not back:
            return translated, own, []
        errors = np.concatenate([batch["cycle_l1"] for batch in found])
        order = np.argsort(errors, kind="stable")
        some = min(EXAMPLES, len(order) // 2)
        examples = [
            Example(side.names[i], side.source[i], translated[i], cycled[i], float(errors[i]))
            for i in [*order[:some], *order[len(order) - some :]]
        ]
        return translated, own, examples

    def _diversity(self, name: str, outputs: np.ndarray, inputs: np.ndarray) -> dict[str, float]:
        ratio = diversity(outputs, inputs)
        if ratio is None:
            self._note(f"{name} left out: the input pictures do not differ")
            return {}
        return {name: ratio}

    def _baseline(self, way: str) -> dict[str, dict[str, float]]:
        """The columns that need no model: the inputs themselves, and real pictures."""
        if way not in self._baselines:
            side, columns = self._sides[way], {}
            if side.same_channels:
                columns["untouched"] = self._compare(way, side.source, "untouched")
            columns["real"] = self._compare(way, side.real, "real")
            self._baselines[way] = columns
        return self._baselines[way]

    def _compare(self, way: str, pictures: Sequence[np.ndarray], column: str) -> dict[str, float]:
        """Scores of the pictures of a column, which should look like those of the target domain."""
        side = self._sides[way]
        scores: dict[str, float] = {}
        if side.truth is not None and column != "real":
            scores |= self._against_truth(way, pictures)
        # Of real photographs those that show the label maps: the segmenter's ceiling.
        photographs = side.truth if column == "real" else pictures
        if self.segmenter and way == "BtoA" and photographs is not None:
            scores |= self._against_labels(photographs)
        if self._extractor and len(pictures):
            scores |= self._against_distribution(way, pictures, column)
        if self._classifier:
            seen = side.target if column == "real" else pictures
            top = np.argmax(self._classifier(seen), axis=1)
            scores["hit_rate"] = float(np.mean(np.isin(top, self._classes[way[-1]])))
        return scores

    def _against_truth(self, way: str, pictures: Sequence[np.ndarray]) -> dict[str, float]:
        side = self._sides[way]
        assert side.truth is not None
        columns: list[Iterable[np.ndarray]] = [pictures, side.truth]
        if side.masks is not None:
            columns += [side.source, side.masks]
        found = []
        for drawn, truth, *more in self._batches(*columns):
            images, wanted = to_float(drawn).numpy(), to_float(truth).numpy()
            found.append(similarity(images, wanted))
            if more:
                inputs, masks = more
                found[-1] |= coat_scores(images, to_float(inputs).numpy(), wanted, masks)
        scores = _means(found)
        if self.palette and way == "AtoB" and pictures[0].shape[-1] == 3:
            scores |= label_scores(pictures, side.truth, self.palette)
        return scores

    def _against_labels(self, photographs: Sequence[np.ndarray]) -> dict[str, float]:
        """How well photographs show the label maps of testB, in their order."""
        assert self.segmenter
        test, palette = self.test_set, self.segmenter.palette
        exact = test.B if test.maps_B is None else test.maps_B
        return class_scores(
            self.segmenter.labels(photographs, self._batch_size),
            (palette.labels(labels) for labels in exact),
            palette,
        )

    def _against_distribution(
        self, way: str, pictures: Sequence[np.ndarray], column: str
    ) -> dict[str, float]:
        assert self._extractor
        wanted = self._look(way[-1])
        drawn = self._look(way[0]) if column == "untouched" else self._extractor(pictures)
        counts = len(drawn), len(wanted)
        if min(counts) < 2:
            self._note("FID and KID left out: they need at least two pictures of each domain")
            return {}
        scores: dict[str, float] = {}
        if "fid" in self.metrics:
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always", UserWarning)
                scores["fid"] = fid(drawn, wanted)
            for warning in caught:
                self._note(str(warning.message))
        if "kid" in self.metrics:
            scores["kid"], scores["kid_std"], size = kid(drawn, wanted)
            self._note(
                f"KID of {counts[0]} to {counts[1]} pictures: mean and standard deviation over "
                f"100 subsets of {size}"
            )
        if "feature_diversity" in self.metrics and column == "translated":
            scores |= self._diversity("feature_diversity", drawn, self._look(way[0]))
        return scores

    def _look(self, domain: str) -> np.ndarray:
        """Features of the test pictures of a domain, computed once."""
        assert self._extractor
        if domain not in self._features:
            self._features[domain] = self._extractor(getattr(self.test_set, domain))
        return self._features[domain]

    def _note(self, words: str) -> None:
        self._notes[words] = None


def _means(found: Sequence[Mapping[str, np.ndarray]]) -> dict[str, float]:
    """The means over all pictures, from batches of scores with a value for each picture."""
    names = dict.fromkeys(name for scores in found for name in scores)
    values = {name: [scores[name] for scores in found if name in scores] for name in names}
    return {name: float(np.mean(np.concatenate(of))) for name, of in values.items()}


def _thumbnails(pictures: Sequence[np.ndarray]) -> np.ndarray:
    """Pictures as rows of numbers to compare: 32 px, antialiased, grey as RGB."""
    small = [tf.image.resize(to_float(p), (32, 32), "area").numpy() for p in pictures]
    return np.stack([np.broadcast_to(image, (32, 32, 3)).ravel() for image in small])
