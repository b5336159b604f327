"""Measures generators on a test set, with doing nothing and real pictures beside them."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence

import keras
import numpy as np
import tensorflow as tf

from ..data.preprocessing import to_float, to_uint8
from ..data.test_set import TestSet
from ..directions import Direction
from ..errors import InputError
from ..networks.twins import with_precision
from .distributions import diversity, fid, kid
from .label_maps import Palette, label_scores
from .metrics import METRICS, choose_metrics
from .pairs import coat_scores, similarity
from .pretrained import Pretrained
from .result import EXAMPLES, Evaluation, Example


class Evaluator:
    """Measures generators on one test set, again and again if need be.

    They compute in float32, whatever they were trained in, as their exports do. Translations are
    rounded to 8 bits before they are compared with anything but the round trip, as a file would
    hold them.

    Args:
        test_set: from `load_test_set`.
        metrics: names with commas between, from `METRICS`. Default: all that can be had.
        extractor: for FID, KID and the diversity of features. Default: none of these.
        classifier: for the hit rate. Default: none.
        class_A: classes of the classifier that count as domain A.
        class_B: classes that count as domain B.
        palette: where domain B is label maps of a paired test set, the classes.
        batch_size: int, pictures at a time. Default 8.

    Raises:
        InputError: an unknown metric, or one whose needs are not met.

    Example:
        ```python
        evaluator = Evaluator(load_test_set("horse2zebra", image_size=64), extractor=look)
        evaluator({"AtoB": model.G, "BtoA": model.F}).scores["AtoB"]["kid"]
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
        batch_size: int = 8,
    ):
        self.test_set = test_set
        self.metrics = choose_metrics(
            metrics,
            {
                "truth": test_set.truth_A is not None,
                "masks": test_set.masks_A is not None,
                "palette": palette is not None and test_set.truth_A is not None,
                "extractor": extractor is not None,
                "classifier": classifier is not None,
            },
        )
        self._extractor, self._classifier = extractor, classifier
        self._classes = {"A": list(class_A), "B": list(class_B)}
        self._palette = palette
        self._batch_size = batch_size
        self._twins: dict[str, tuple[keras.Model, keras.Model, Callable]] = {}
        # What is the same for every model.
        self._constant: dict[str, dict[str, dict[str, float]]] = {}
        self._constant_notes: dict[str, None] = {}
        self._features: dict[str, np.ndarray] = {}
        self._notes: dict[str, None] = {}

    def __call__(self, generators: Mapping[Direction, keras.Model]) -> Evaluation:
        """Measures G under "AtoB" and F under "BtoA", or one of them alone.

        Raises:
            InputError: pictures that a generator does not take, or one that gives what are no
                numbers.
        """
        self._notes = {}
        runs: dict[str, Callable] = {
            way: self._runner(way, network) for way, network in generators.items()
        }
        if len(runs) == 1 and self._wants("cycle"):
            self._note("the round trip is left out: it takes both generators")
        scores: dict[str, dict[str, dict[str, float]]] = {}
        examples: dict[str, list[Example]] = {}
        for way in runs:
            translated, own, examples[way] = self._translate(way, runs)
            columns = {"translated": {**self._compare(way, translated, "translated"), **own}}
            columns |= self._without_model(way)
            names = [*METRICS, "kid_std"]
            scores[way] = {
                name: {column: values[name] for column, values in columns.items() if name in values}
                for name in names
                if name in columns["translated"]
            }
        test = self.test_set
        splits = {
            "test_A": test.A, "test_B": test.B, "train_A": test.train_A, "train_B": test.train_B
        }  # fmt: skip
        classifier = None
        if self._classifier and "hit_rate" in self.metrics:
            classifier = {**self._classifier.describe(), "classes": self._classes}
        return Evaluation(
            data=test.name,
            pictures={split: len(pictures) for split, pictures in splits.items() if pictures},
            scores=scores,
            extractor=self._extractor.describe()
            if self._extractor and self._wants("extractor")
            else None,
            classifier=classifier,
            palette=self._palette.name if self._palette and self._wants("palette") else None,
            notes=list(self._constant_notes | self._notes),
            examples={way: shown for way, shown in examples.items() if shown},
        )

    def _wants(self, need: str) -> bool:
        return any(METRICS[name].needs == need for name in self.metrics)

    def _runner(self, way: str, network: keras.Model) -> Callable[[np.ndarray], np.ndarray]:
        """The generator in float32, traced once however often its weights change."""
        reads, there = network.input_shape[-1], getattr(self.test_set, way[0])[0].shape[-1]
        if reads != there:
            raise InputError(
                f"the {way} generator reads pictures of {reads} channels, and those of {way[0]} "
                f"have {there} here"
            )
        if way not in self._twins or self._twins[way][0] is not network:
            twin = with_precision(network, "float32")
            traced = tf.function(
                lambda images: twin(images, training=False),
                input_signature=[tf.TensorSpec((None, None, None, reads), tf.float32)],
                autograph=False,
            )
            self._twins[way] = (network, twin, traced)
        _, twin, traced = self._twins[way]
        twin.set_weights(network.get_weights())

        def run(images: np.ndarray) -> np.ndarray:
            drawn = traced(images).numpy()
            if not np.isfinite(drawn).all():
                raise InputError(
                    f"the {way} generator gives what are no numbers: train again, or take an "
                    "earlier checkpoint"
                )
            return drawn

        return run

    def _batches(self, *columns: Sequence[np.ndarray]) -> Iterator[tuple[np.ndarray, ...]]:
        """Batches of pictures that follow each other and have one size; uint8 `[N, H, W, C]`."""
        first, count = 0, len(columns[0])
        while first < count:
            last = first + 1
            while (
                last < min(count, first + self._batch_size)
                and columns[0][last].shape == columns[0][first].shape
            ):
                last += 1
            yield tuple(np.stack(column[first:last]) for column in columns)
            first = last

    def _translate(
        self, way: str, runs: Mapping[str, Callable]
    ) -> tuple[list[np.ndarray], dict[str, float], list[Example]]:
        """All translations of a direction, the scores that need its generators, and examples."""
        source, target, names, back = (
            (self.test_set.A, self.test_set.B, self.test_set.names_A, "BtoA")
            if way == "AtoB"
            else (self.test_set.B, self.test_set.A, self.test_set.names_B, "AtoB")
        )
        round_trip = back in runs and self._wants("cycle")
        translated: list[np.ndarray] = []
        cycled: list[np.ndarray] = []
        errors: dict[str, list[np.ndarray]] = {}
        for (pixels,) in self._batches(source):
            images = to_float(pixels).numpy()
            drawn = runs[way](images)
            translated += list(to_uint8(drawn))
            if round_trip:
                again = runs[back](drawn)
                cycled += list(to_uint8(again))
                for name, values in similarity(again, images).items():
                    errors.setdefault(f"cycle_{name}", []).append(values)
        found = {name: np.concatenate(values) for name, values in errors.items()}
        own = {name: float(np.mean(v)) for name, v in found.items() if name in self.metrics}
        if "identity_l1" in self.metrics and source[0].shape[-1] == target[0].shape[-1]:
            changes = [
                np.mean(np.abs(runs[way](images) - images), axis=(1, 2, 3))
                for images in (to_float(pixels).numpy() for (pixels,) in self._batches(target))
            ]
            own["identity_l1"] = float(np.mean(np.concatenate(changes)))
        if "diversity" in self.metrics:
            own |= self._diversity("diversity", _thumbnails(translated), _thumbnails(source))
        examples = []
        if round_trip:
            order = np.argsort(found["cycle_l1"], kind="stable")
            some = min(EXAMPLES, len(order) // 2)
            for place in [*order[:some], *order[len(order) - some :]]:
                examples.append(
                    Example(
                        names[place], source[place], translated[place], cycled[place],
                        float(found["cycle_l1"][place]),
                    )
                )  # fmt: skip
        return translated, own, examples

    def _diversity(self, name: str, outputs: np.ndarray, inputs: np.ndarray) -> dict[str, float]:
        ratio = diversity(outputs, inputs)
        if ratio is None:
            self._note(f"{name} left out: the pictures that went in do not differ")
            return {}
        return {name: ratio}

    def _without_model(self, way: str) -> dict[str, dict[str, float]]:
        """The columns that are the same for every model, measured once."""
        if way not in self._constant:
            test, notes = self.test_set, self._notes
            self._notes = {}
            source, target, more = (
                (test.A, test.B, test.train_B) if way == "AtoB" else (test.B, test.A, test.train_A)
            )
            columns: dict[str, dict[str, float]] = {"untouched": {}, "real": {}}
            if source[0].shape[-1] == target[0].shape[-1]:
                columns["untouched"] = self._compare(way, source, "untouched")
            if len(more):
                columns["real"] = self._compare(way, more, "real")
            if "hit_rate" in self.metrics:
                columns["real"]["hit_rate"] = self._hit_rate(way, target)
            self._constant[way] = columns
            self._constant_notes |= self._notes
            self._notes = notes
        return self._constant[way]

    def _compare(self, way: str, pictures: Sequence[np.ndarray], column: str) -> dict[str, float]:
        """Scores of pictures that should look like those of the target domain.

        Args:
            way: the direction.
            pictures: one for each test picture of the source domain, or real ones of the target.
            column: which of `COLUMNS` they are; real ones have no truth.
        """
        test, metrics = self.test_set, self.metrics
        domain = way[0]
        scores: dict[str, float] = {}
        truth = None if column == "real" else getattr(test, f"truth_{domain}")
        if truth is not None:
            scores |= self._against_truth(domain, pictures, truth)
        if "hit_rate" in metrics and column != "real":  # of test pictures, not of these
            scores["hit_rate"] = self._hit_rate(way, pictures)
        if self._wants("extractor"):
            scores |= self._against_distribution(way, pictures, column)
        return {name: value for name, value in scores.items() if name in (*metrics, "kid_std")}

    def _against_truth(
        self, domain: str, pictures: Sequence[np.ndarray], truth: Sequence[np.ndarray]
    ) -> dict[str, float]:
        test = self.test_set
        found: dict[str, list[np.ndarray]] = {}
        for drawn, right in self._batches(pictures, truth):
            for name, values in similarity(to_float(drawn), to_float(right)).items():
                found.setdefault(name, []).append(values)
        scores = {name: float(np.mean(np.concatenate(values))) for name, values in found.items()}
        if (masks := getattr(test, f"masks_{domain}")) is not None:
            three = (np.stack(x) for x in (pictures, getattr(test, domain), truth))
            images, inputs, right = (to_float(x).numpy() for x in three)
            coat = coat_scores(images, inputs, right, masks)
            scores |= {name: float(np.mean(values)) for name, values in coat.items()}
        if self._palette and domain == "A" and pictures[0].shape[-1] == 3:
            scores |= label_scores(pictures, truth, self._palette)
        return scores

    def _hit_rate(self, way: str, pictures: Sequence[np.ndarray]) -> float:
        assert self._classifier
        top = np.argmax(self._classifier(pictures), axis=1)
        return float(np.mean(np.isin(top, self._classes[way[-1]])))

    def _against_distribution(
        self, way: str, pictures: Sequence[np.ndarray], column: str
    ) -> dict[str, float]:
        assert self._extractor
        source, target = way[0], way[-1]
        wanted = self._look(target)
        drawn = self._look(source) if column == "untouched" else self._extractor(pictures)
        scores: dict[str, float] = {}
        counts = len(drawn), len(wanted)
        if min(counts) < 2:
            self._note("FID and KID left out: one picture is no set")
            return scores
        if "fid" in self.metrics:
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always", UserWarning)
                scores["fid"] = fid(drawn, wanted)
            for warning in caught:
                self._note(str(warning.message))
        if "kid" in self.metrics:
            scores["kid"], scores["kid_std"], size = kid(drawn, wanted)
            self._note(
                f"KID of {counts[0]} to {counts[1]} pictures: mean and spread of 100 subsets of "
                f"{size}"
            )
        if "feature_diversity" in self.metrics and column == "translated":
            scores |= self._diversity("feature_diversity", drawn, self._look(source))
        return scores

    def _look(self, domain: str) -> np.ndarray:
        """Features of the real test pictures of a domain, seen once."""
        assert self._extractor
        if domain not in self._features:
            self._features[domain] = self._extractor(getattr(self.test_set, domain))
        return self._features[domain]

    def _note(self, words: str) -> None:
        self._notes[words] = None


def _thumbnails(pictures: Sequence[np.ndarray]) -> np.ndarray:
    """Pictures as rows of numbers to compare: 32 px, antialiased, grey as RGB."""
    small = [tf.image.resize(to_float(p), (32, 32), "area").numpy() for p in pictures]
    return np.stack([np.broadcast_to(image, (32, 32, 3)).ravel() for image in small])
