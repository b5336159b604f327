"""Errors: their messages and exit codes."""

import signal
from pathlib import Path

import pytest

from tfcyclegan import cli
from tfcyclegan.commands import train
from tfcyclegan.errors import (
    TRY_AGAIN,
    InputError,
    Interrupted,
    NonFiniteLoss,
    PeerLost,
    Terminated,
    first_line,
)


def test_messages():
    lost = PeerLost("worker 1 was lost")
    assert str(lost).startswith("worker 1 was lost: training cannot go on. Start all workers again")
    assert lost.what == "worker 1 was lost"
    assert str(PeerLost("x", "Do y")) == "x: training cannot go on. Do y"
    stop = Interrupted(signal.SIGINT, Path("runs/a/checkpoints/7.zip"))
    assert str(stop) == "SIGINT: saved runs/a/checkpoints/7.zip"
    assert (stop.signal, stop.checkpoint.name) == (signal.SIGINT, "7.zip")


def test_the_first_line_of_other_libraries_errors():
    assert first_line(ValueError("\n one\ntwo")) == "one"
    assert first_line(KeyError()) == "KeyError"
    assert len(first_line("x" * 999)) == 300


@pytest.mark.parametrize(
    ("problem", "code", "said"),
    [
        (InputError("image_size=250: take 252"), 2, "tfcyclegan: --image-size 250: take 252\n"),
        (NonFiniteLoss("step 3"), 1, "tfcyclegan: step 3\n"),
        (PeerLost("worker 1 was lost"), TRY_AGAIN, "tfcyclegan: worker 1 was lost: training"),
        (Terminated(), 143, "tfcyclegan: interrupted"),
        (KeyboardInterrupt(), 130, "tfcyclegan: interrupted"),
    ],
)
def test_exit_codes(problem, code, said, monkeypatch, capsys):
    def stop(arguments):
        raise problem

    monkeypatch.setattr(train, "understand", stop)
    assert cli.main(["train"]) == code
    assert capsys.readouterr().err.startswith(said)


def test_the_command_line_says_how_to_resume(monkeypatch, capsys):
    def stop(arguments):
        raise Interrupted(signal.SIGTERM, Path("runs/my horses/checkpoints/7.zip"))

    monkeypatch.setattr(train, "understand", stop)
    assert cli.main(["train"]) == 143
    assert "train --resume --run-dir 'runs/my horses'" in capsys.readouterr().out
