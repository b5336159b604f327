"""The settings of evaluation, laid over those of a run."""

from tfcyclegan.training.measuring import Measuring


def test_over():
    run = Measuring(test_count=9, paired=True, extractor="a.keras", extractor_size=128)
    assert Measuring().over(run) == run
    assert Measuring(test_count=4).over(run).test_count == 4
    assert Measuring(extractor="a.keras").over(run).extractor_size == 128
    other = Measuring(extractor="b.keras").over(run)  # does not inherit the size of a.keras
    assert (other.extractor, other.extractor_size, other.paired) == ("b.keras", None, True)


def test_another_classifier_has_other_classes():
    run = Measuring(classifier="a", classes="names.txt", class_A="horse", class_B="zebra")
    other = Measuring(classifier="b", class_A="1").over(run)
    assert (other.classes, other.class_A, other.class_B) == (None, "1", None)
