"""Label maps: palettes by name and from files, and the paper's scores."""

import numpy as np
import pytest

from tfcyclegan import InputError
from tfcyclegan.evaluation import Palette, label_scores, load_palette


def test_label_scores(tmp_path):
    palette = tmp_path / "classes.txt"
    palette.write_text("#ff0000 roof\n\n#00ff00 wall\n#0000ff door\n#ffffff sky\n")
    classes = load_palette(str(palette))
    assert isinstance(classes, Palette)
    assert classes.name == "classes.txt"
    assert classes.classes == ("roof", "wall", "door", "sky")
    truth = np.array([[[255, 0, 0]] * 3 + [[0, 255, 0]]], np.uint8)
    # The nearest colour counts: one of three roofs is drawn as a door, the wall is right.
    drawn = np.array([[[250, 9, 30], [200, 0, 0], [0, 0, 140], [60, 200, 60]]], np.uint8)
    assert classes.labels(drawn).tolist() == [[0, 0, 2, 1]]
    found = label_scores([drawn], [truth], classes)
    assert found["pixel_accuracy"] == pytest.approx(3 / 4)
    assert found["class_accuracy"] == pytest.approx((2 / 3 + 1) / 2)
    assert found["class_iou"] == pytest.approx((2 / 3 + 1 + 0) / 3)
    assert set(label_scores([truth], [truth], classes).values()) == {1.0}
    # Over the pixels of all pictures together, not a mean over pictures.
    pair = label_scores([drawn, truth], [truth, truth], classes)
    assert pair["pixel_accuracy"] == pytest.approx(7 / 8)


def test_the_facades_have_twelve_classes():
    classes = load_palette("facades")
    assert len(classes.classes) == 12
    shown = np.array([[[2, 46, 250], [250, 10, 6], [4, 124, 255]]], np.uint8)  # as JPEG has them
    assert [classes.classes[n] for n in classes.labels(shown)[0]] == ["facade", "pillar", "window"]


def test_void_is_not_scored():
    classes = load_palette("cityscapes")
    assert len(classes.classes) == 20
    road, sky, void = (classes.colours[classes.classes.index(n)] for n in ("road", "sky", "void"))
    truth = np.array([[road, road, sky, void]])
    assert set(label_scores([np.array([[road, road, sky, sky]])], [truth], classes).values()) == {1}
    found = label_scores([np.array([[road, void, sky, void]])], [truth], classes)
    assert found["pixel_accuracy"] == pytest.approx(2 / 3)
    assert found["class_iou"] == pytest.approx((1 / 2 + 1) / 2)
    with pytest.raises(InputError, match="the truth is void everywhere"):
        label_scores([truth], [np.array([[void] * 4])], classes)


def test_invalid_palettes(tmp_path):
    with pytest.raises(InputError, match="palette=cityscape: no such file: give cityscapes, "):
        load_palette("cityscape")
    broken = tmp_path / "broken.txt"
    broken.write_text("#ff0000 roof\nreddish door\n")
    with pytest.raises(InputError, match=r"broken.txt: .*reddish.*: give one class per line"):
        load_palette(str(broken))
    broken.write_text("#ff0000 roof\n#00ff00 roof\n")
    with pytest.raises(InputError, match="two lines for roof"):
        load_palette(str(broken))
    broken.write_text("#ff0000 roof\n")
    with pytest.raises(InputError, match="1 of at least 2 classes"):
        load_palette(str(broken))
