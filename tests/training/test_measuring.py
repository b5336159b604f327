"""Settings of an evaluation, laid over those of a run."""

from tfcyclegan.training.measuring import Measuring


def test_another_network_has_its_own_settings():
    before = Measuring(extractor="a.keras", extractor_size=128, classifier="c", class_A="1")
    after = Measuring(extractor="b.keras").over(before)
    assert (after.extractor, after.extractor_size, after.class_A) == ("b.keras", None, "1")
    assert Measuring(test_count=0, classifier="d").over(before) == Measuring(
        extractor="a.keras", extractor_size=128, classifier="d", test_count=0
    )
    assert Measuring(extractor="a.keras").over(before) == before
