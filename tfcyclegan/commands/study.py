"""`tfcyclegan study` and `study-results`: the perceptual study of section 5.1.1."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated
from urllib.parse import quote

import tyro

from ..errors import InputError
from ..studies.answers import evaluate_answers
from ..studies.perceptual import write_study
from .tables import print_table


def study(
    real: str,
    fake: tuple[str, ...],
    to: str,
    title: str = "Which picture is real?",
    practice: int = 10,
    trials: int = 40,
    seconds: float = 1.0,
    size: int = 256,
    seed: int = 0,
) -> int:
    """Make a page that asks people which of two pictures is real.

    The folder works on any web server, and from the disk. Each participant judges one algorithm and
    saves a file of answers for study-results.

    Args:
        real: Folder of real pictures.
        fake: NAME=FOLDER of each algorithm's pictures.
        to: The folder to write.
        title: The question on the page.
        practice: Trials with feedback, before the others.
        trials: Trials that count.
        seconds: How long each picture is shown.
        size: Side of the pictures in px.
        seed: Seed of the pairs.
    """
    fakes = {}
    for text in fake:
        name, equals, folder = text.partition("=")
        if not (name and equals and folder):
            raise InputError(f"fake={text}: give NAME=FOLDER, for example CycleGAN=translated")
        if name in fakes:
            raise InputError(f"fake={text}: there is another {name}")
        fakes[name] = Path(folder)
    page = write_study(
        Path(real), fakes, Path(to), title=title, practice=practice, trials=trials,
        seconds=seconds, size=size, seed=seed,
    )  # fmt: skip
    print(f"page: {page}")
    for name in fakes:
        print(f"only {name}: {page.name}?algorithm={quote(name, safe='')}")
    return 0


def study_results(
    files: Annotated[tuple[Path, ...], tyro.conf.Positional],
    to: Path | None = None,
    draws: int = 10_000,
    seed: int = 0,
    keep_all: bool = False,
) -> int:
    """Evaluate the answers to a perceptual study.

    Args:
        files: Files that participants saved, one for each.
        to: Folder for study.md, study.json and study.png. Default: none are written.
        draws: Bootstrap samples.
        seed: Seed of the bootstrap.
        keep_all: Also count sittings that look careless (too fast, always the same key, practice
            at chance).
    """
    if draws < 100:
        raise InputError(f"draws={draws}: must be at least 100")
    results = evaluate_answers(files, draws=draws, seed=seed, keep_all=keep_all)
    print_table("Taken for real", results.rows())
    for sitting, why in results.excluded:
        print(f"- not counted: {sitting.file}: {why}")
    for path in results.write(to) if to else ():
        print(f"{path.suffix[1:]}: {path}")
    return 0
