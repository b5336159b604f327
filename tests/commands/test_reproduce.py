"""`tfcyclegan reproduce`: what is printed, and the exit codes."""

import signal
from pathlib import Path

import pytest

from tfcyclegan.cli import main
from tfcyclegan.commands.reproduce import reproduce
from tfcyclegan.errors import Interrupted
from tfcyclegan.studies.trials import Trial
from tfcyclegan.training.config import Config


@pytest.fixture
def trials(monkeypatch):
    """The trials that run. They are recorded, not trained."""
    ran = []
    monkeypatch.setattr(Trial, "run", lambda trial: ran.append((trial.variant, trial.seed)))
    monkeypatch.setattr("tfcyclegan.commands.reproduce.Findings", lambda *_: FakeFindings)
    return ran


class FakeFindings:
    """A table without results."""

    rows = staticmethod(lambda way: [("", "PSNR"), ("CycleGAN", f"{way} 9 dB")])
    facts = staticmethod(lambda: ["shapes, 32 px"])
    write = staticmethod(lambda directory, name: [directory / f"{name}.md"])


def test_all_variants_run_and_are_compared(trials, capsys):
    assert reproduce("ablation", Config(run_dir="study"), seeds=2) == 0
    printed = capsys.readouterr().out
    assert len(trials) == 10
    assert "[1/10] cycle only, seed 0" in printed
    assert "AtoB 9 dB" in printed
    assert "BtoA 9 dB" in printed
    assert "md: study/ablation.md" in printed


def test_an_interrupted_study(capsys, monkeypatch):
    def stop(trial):
        raise Interrupted(signal.SIGTERM, Path("step_1.npz"))

    monkeypatch.setattr(Trial, "run", stop)
    assert main(["reproduce", "ablation"]) == 143
    assert "stopped; the same command goes on from here" in capsys.readouterr().out


def test_refusals(trials, refused, folder):
    refused("--seeds 0: must be at least 1", "reproduce", "ablation", "--seeds", 0)
    refused("", "reproduce", "ablation", "--data", folder)
    assert not trials
