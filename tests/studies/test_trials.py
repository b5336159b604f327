"""Tables of the paper: how the runs of one differ, continue, and are put together."""

import dataclasses
import json
import os
import signal
from pathlib import Path

import keras
import numpy as np
import pytest
from PIL import Image

from tfcyclegan import InputError
from tfcyclegan.cli import main
from tfcyclegan.data.test_set import TestSet, load_test_set
from tfcyclegan.studies import trials as studies
from tfcyclegan.studies.tables import STUDIES, Study
from tfcyclegan.studies.trials import Findings, Trial, plan, study_test_set
from tfcyclegan.training.config import Config
from tfcyclegan.training.measuring import Measuring
from tfcyclegan.training.resume import StopOnSignal

TINY = [
    "--image-size", 16, "--batch-size", 4, "--filters", 2, "--blocks", 1, "--epochs", 1,
    "--discriminator-filters", 2, "--discriminator-layers", 1, "--steps-per-epoch", 2,
    "--precision", "float32", "--no-tensorboard", "--test-count", 4,
    "--no-export",
]  # fmt: skip


def run(*arguments):
    return main(["reproduce", "ablation", *map(str, arguments)])


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def test_the_ablation_is_the_papers():
    trials = plan(STUDIES["ablation"], Config(seed=5), 2, Path("x"))
    assert [(t.variant, t.seed) for t in trials[:6]] == [
        ("cycle only", 5), ("GAN only", 5), ("GAN + forward cycle", 5),
        ("GAN + backward cycle", 5), ("CycleGAN", 5), ("cycle only", 6),
    ]  # fmt: skip
    weights = {
        t.variant: (
            t.config.lambda_gan, t.config.lambda_cycle_A, t.config.lambda_cycle_B,
            t.config.lambda_identity,
        )
        for t in trials[:5]
    }  # fmt: skip
    # Forward is A → B → A (section 3.2).
    assert weights == {
        "cycle only": (0, 10, 10, 0),
        "GAN only": (1, 0, 0, 0),
        "GAN + forward cycle": (1, 10, 0, 0),
        "GAN + backward cycle": (1, 0, 10, 0),
        "CycleGAN": (1, 10, 10, 0),
    }
    differing = {"lambda_gan", "lambda_cycle_A", "lambda_cycle_B", "run_dir", "seed"}
    for trial in trials[1:]:
        for field in dataclasses.fields(Config):
            if field.name not in differing:
                one, other = (getattr(t.config, field.name) for t in (trial, trials[0]))
                assert one == other, field.name
    assert len({t.config.run_dir for t in trials}) == 10
    with pytest.raises(InputError, match="seeds=0: must be at least 1"):
        plan(STUDIES["ablation"], Config(), 0, Path("x"))


def test_pix2pix_is_one_run_for_each_direction():
    """It shares sizes and length with the CycleGAN beside it, and is otherwise the paper's."""
    config = Config(filters=8, epochs=3, lambda_cycle_A=7.0, measuring=Measuring(test_count=5))
    trials = plan(STUDIES["table2"], config, 1, Path("x"))
    assert [trial.variant for trial in trials[:5]] == list(STUDIES["ablation"].variants)
    both = trials[5:]
    assert [trial.label for trial in both] == ["pix2pix AtoB", "pix2pix BtoA"]
    assert [trial.directory.name for trial in both] == ["pix2pix-AtoB-0", "pix2pix-BtoA-0"]
    for trial in both:
        own = trial.config
        assert (own.model, own.recipe, own.generator) == ("pix2pix", "pix2pix", "unet")
        assert (own.image_size, own.batch_size, own.filters, own.epochs) == (32, 4, 8, 3)
        assert (own.norm, own.dropout, own.lambda_L1, own.learning_rate) == (
            "batch",
            0.5,
            100,
            2e-4,
        )
        assert (own.lambda_cycle_A, own.pool_size, own.measuring.test_count) == (None, None, 5)


@pytest.mark.slow
def test_a_table_with_pix2pix(capsys, monkeypatch):
    variants = {"CycleGAN": {}, "pix2pix": {"model": "pix2pix"}}
    smaller = dataclasses.replace(STUDIES["table2"], variants=variants)
    monkeypatch.setitem(STUDIES, "table2", smaller)
    tiny = [*TINY[2:], "--image-size", 32]
    assert main(["reproduce", "table2", *map(str, tiny)]) == 0
    printed = capsys.readouterr().out
    assert "[3/3] pix2pix BtoA, seed 0" in printed
    assert "- the paper: per-pixel accuracy" in printed
    assert main(["reproduce", "table2", *map(str, tiny)]) == 0  # goes on from the end
    assert capsys.readouterr().out.count("done already") == 3
    found = json.loads(Path("runs/table2-shapes/table2.json").read_text())
    for way in ("AtoB", "BtoA"):
        assert list(found["values"][way]) == ["doing nothing", "CycleGAN", "pix2pix"]
        assert len(found["values"][way]["pix2pix"]["psnr"]) == 1
    assert found["paper"]["BtoA"]["real pictures"] == "0.80 / 0.26 / 0.21"
    assert Image.open("runs/table2-shapes/table2.png").width == 4 * (128 + 4) - 4


def test_real_pictures_are_a_row():
    trials = plan(STUDIES["ablation"], Config(), 1, Path("s"))
    for trial in trials:
        columns = {"translated": 0.5, "untouched": 0.1, "real": 0.8}
        scores = {way: {"pixel_accuracy": columns} for way in ("AtoB", "BtoA")}
        trial.directory.mkdir(parents=True)
        result = {"evaluation": {"data": "s", "pictures": {}, "scores": scores}}
        (trial.directory / "result.json").write_text(json.dumps(result))
    findings = Findings(STUDIES["ablation"], trials, TestSet("s", [], [], [], []))
    assert findings.rows("BtoA")[-1] == ("real pictures", "0.800", "0.80 / 0.26 / 0.21")


@pytest.mark.slow
def test_the_identity_study(capsys):
    """By default on the data whose time of day is ambiguous; the truth is not needed."""
    assert main(["reproduce", "identity", *map(str, TINY)]) == 0
    found = json.loads(Path("runs/identity-shapes-dusk/identity.json").read_text())
    assert list(found["values"]["AtoB"]) == ["doing nothing", "without", "with"]
    assert set(found["values"]["AtoB"]["with"]) >= {"hue_shift", "brightness_shift", "psnr"}
    assert found["data"] == "shapes-dusk"


def test_style_needs_its_own_settings(capsys):
    assert run(*TINY, "--style-steps", 5) == 2
    assert "--style-steps go with reproduce style: leave them out" in capsys.readouterr().err
    assert main(["reproduce", "style", *map(str, TINY), "--style-network", "x.keras"]) == 2
    assert "x.keras: neither a file nor" in capsys.readouterr().err


def test_a_study_sets_the_model():
    with pytest.raises(InputError, match="model=pix2pix: a study sets the model itself"):
        plan(STUDIES["style"], Config(model="pix2pix"), 1, Path("x"))
    with pytest.raises(InputError, match="`initial_weights` do not fit all models of this study"):
        plan(STUDIES["table2"], Config(initial_weights="runs/x"), 1, Path("x"))


def test_runs_of_earlier_versions_continue(tmp_path):
    """Their folders are named "alone" instead of "only"."""
    (tmp_path / "GAN-alone-0").mkdir()
    study = Study("title", {}, {"cycle only": {}, "GAN only": {"lambda_cycle_A": 0.0}})
    trials = plan(study, Config(), 1, tmp_path)
    assert all(isinstance(trial, Trial) for trial in trials)
    assert [trial.directory.name for trial in trials] == ["cycle-only-0", "GAN-alone-0"]


def test_a_stopped_study_continues(capsys, monkeypatch):
    """A signal stops the second of two runs; the same command then does only what is missing."""
    variants = {
        name: settings
        for name, settings in STUDIES["ablation"].variants.items()
        if name in ("cycle only", "CycleGAN")
    }
    smaller = dataclasses.replace(STUDIES["ablation"], variants=variants)
    monkeypatch.setitem(STUDIES, "ablation", smaller)
    started = []
    train, begin = studies.train, StopOnSignal.on_train_begin

    def counted(config, resume):
        started.append(Path(config.run_dir).name)
        return train(config, resume)

    def begin_and_be_stopped(self, logs=None):
        begin(self, logs)
        if len(started) == 2:
            os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(studies, "train", counted)
    monkeypatch.setattr(StopOnSignal, "on_train_begin", begin_and_be_stopped)
    assert run(*TINY) == 128 + signal.SIGTERM
    assert "stopped; the same command goes on from here" in capsys.readouterr().out
    assert len(started) == 2
    directory = Path("runs/ablation-shapes")
    finished = {p: p.stat().st_mtime_ns for p in directory.glob("*/result.json")}
    assert len(finished) == 1

    assert run(*TINY) == 0
    assert started[2:] == ["CycleGAN-0"]
    for path, changed in finished.items():
        assert path.stat().st_mtime_ns == changed
    printed = capsys.readouterr().out
    assert printed.count("done already") == 1

    found = json.loads((directory / "ablation.json").read_text())
    assert found["seeds"] == [0]
    values = found["values"]["AtoB"]
    assert list(values) == ["doing nothing", *variants]
    for variant in variants:
        name = variant.replace(" + ", "-").replace(" ", "-")
        result = json.loads((directory / f"{name}-0" / "result.json").read_text())
        scores = result["evaluation"]["scores"]["AtoB"]
        assert values[variant]["psnr"] == [scores["psnr"]["translated"]]
        assert values["doing nothing"]["psnr"] == [scores["psnr"]["untouched"]]
    table = (directory / "ablation.md").read_text()
    assert f"| CycleGAN | {values['CycleGAN']['psnr'][0]:.2f} |" in table
    assert "| 0.58 / 0.22 / 0.16 |" in table
    assert "## B to A" in table
    grid = Image.open(directory / "ablation.png")
    assert grid.size == (4 * (128 + 4) - 4, 22 + 6 * (128 + 4) - 4)
    cells = [np.asarray(grid)[22 : 22 + 128, c * 132 : c * 132 + 128] for c in range(4)]
    test_set = load_test_set("shapes", image_size=16, test_count=1)
    for cell, pixels in ((cells[0], test_set.A[0]), (cells[3], test_set.truth_A[0])):
        np.testing.assert_array_equal(cell[::8, ::8], pixels)
    weights = {
        keras.saving.load_model(path.parent / "model.keras").G.get_weights()[0].tobytes()
        for path in directory.glob("*/result.json")
    }
    assert len(weights) == 2

    # Runs with other settings belong to another study.
    assert run(*TINY, "--filters", 3) == 2
    assert "was run with other settings: --filters was 2, now 3" in capsys.readouterr().err
    # So do longer runs: all variants have the same budget.
    assert run(*TINY, "--epochs", 2) == 2
    assert "was run with other settings: --epochs was 1, now 2" in capsys.readouterr().err


def test_seeds_give_a_mean_and_a_deviation():
    trials = plan(STUDIES["ablation"], Config(), 3, Path("s"))
    for trial in trials:
        columns = {"translated": 10.0 + trial.seed, "untouched": 5.0}
        scores = {way: {"psnr": columns, "cycle_l1": columns} for way in ("AtoB", "BtoA")}
        trial.directory.mkdir(parents=True)
        result = {"evaluation": {"data": "s", "pictures": {}, "scores": scores}}
        (trial.directory / "result.json").write_text(json.dumps(result))
    findings = Findings(STUDIES["ablation"], trials, TestSet("s", [], [], [], []))
    rows = findings.rows("AtoB")
    assert rows[0] == ("", "PSNR to the truth", "the paper")
    assert rows[1] == ("doing nothing", "5.00", "")
    assert rows[-1] == ("CycleGAN", "11.00 ± 1.00", "0.58 / 0.22 / 0.16")
    text = findings.to_markdown()
    assert "- s, 32 px, 18 epochs in batches of 4, seeds 0, 1, 2\n" in text
    assert (
        "## B to A\n\n|  | PSNR to the truth | the paper |\n| --- | ---: | ---: |\n"
        "| doing nothing | 5.00 |  |"
    ) in text
    (trials[0].directory / "result.json").write_text("{}")
    with pytest.raises(InputError, match=r"result.json: damaged: move s/cycle-only-0 away"):
        findings.rows("AtoB")


def test_the_truth_is_needed(folder, capsys):
    config = Config(data=str(folder), image_size=16).resolved()
    with pytest.raises(InputError, match=r"data=.*: the truth of .* or paired data with `paired`"):
        study_test_set(STUDIES["ablation"], config)
    assert run(*TINY, "--data", folder) == 2
    assert (
        "is unknown: use the embedded data, or paired data with --paired" in capsys.readouterr().err
    )
    assert not Path("runs").exists()
