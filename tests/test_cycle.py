"""The pictures of one domain on their way around the cycle."""

import pytest

from tfcyclegan.cycle import Cycle


@pytest.fixture
def networks():
    """Networks that write down what they do to a picture, and in which mode."""
    return {
        name: lambda images, training, name=name: f"{name}{training:d}({images})"
        for name in ("G", "F", "D_A", "D_B")
    }


def test_what_the_networks_make_of_each_domain(networks):
    A = Cycle(networks, "A", "a")
    assert (A.domain, A.real) == ("A", "a")
    assert A.fake == "G1(a)"
    assert A.cycled == "F1(G1(a))"
    assert A.same == "F1(a)"
    assert A.logits == "D_B1(G1(a))"
    B = Cycle(networks, "B", "b", training=False)
    assert (B.domain, B.real) == ("B", "b")
    assert B.fake == "F0(b)"
    assert B.cycled == "G0(F0(b))"
    assert B.same == "G0(b)"
    assert B.logits == "D_A0(F0(b))"


def test_computed_once_and_only_when_used(networks):
    calls = []
    networks["G"] = lambda images, training: calls.append(images) or "fake"
    A = Cycle(networks, "A", "a")
    assert A.same == "F1(a)"
    assert calls == []
    assert (A.cycled, A.logits) == ("F1(fake)", "D_B1(fake)")
    assert calls == ["a"]
    again = A.fresh()
    assert (again.domain, again.real, again.fake) == ("A", "a", "fake")
    assert calls == ["a", "a"]
