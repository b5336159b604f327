"""Messages of the library as options of the command line."""

import pytest

from tfcyclegan.commands.flags import COMMANDS, as_flags


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ("image_size=250: take 252", "--image-size 250: take 252"),
        ("leave `preprocess` out", "leave --preprocess out"),
        ("pass skip_bad_images=True", "pass --skip-bad-images"),
        ("or skip_bad_images=False", "or --no-skip-bad-images"),
        ("residual_output=True needs", "--residual-output True needs"),
        ("objective='wgan' is unknown", "--objective 'wgan' is unknown"),
        ("data='a b': no", "--data 'a b': no"),
        ("run_dir=runs/x, resume=True.", "--run-dir runs/x, --resume."),
        ("lambda_cycle_A=-1: must", "--lambda-cycle-A -1: must"),
        ("skip_existing=True or timeout=5, `count`", "--skip-existing or --timeout 5, --count"),
        ("inputs=3 and `run` are", "inputs=3 and `run` are"),
        ("other=3 and `unknown` stay", "other=3 and `unknown` stay"),
        ("model.image_size=3 stays", "model.image_size=3 stays"),
    ],
)
def test_what_becomes_an_option(message, expected):
    assert as_flags(message) == expected


def test_commands():
    assert list(COMMANDS) == [
        "train", "evaluate", "export", "translate", "reproduce", "segmenter", "import", "study",
        "study-results",
    ]  # fmt: skip
