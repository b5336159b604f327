"""The perceptual study of section 5.1.1: which of two pictures is real?

`write_study` makes a page that runs in any browser without a server. People see pairs of a real and
a generated picture and send back a JSON file of answers, which `answers.py` evaluates.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import jinja2
import numpy as np
from PIL import Image

from ..data.decoding import SUFFIXES, open_picture
from ..data.preprocessing import resized
from ..errors import InputError
from ..files import atomic_write, write_text

#: The page, in the folder of a study.
PAGE = "index.html"


def write_study(
    real: Path,
    fakes: Mapping[str, Path],
    to: Path,
    *,
    title: str = "Which picture is real?",
    practice: int = 10,
    trials: int = 40,
    seconds: float = 1.0,
    size: int = 256,
    seed: int = 0,
) -> Path:
    """Writes the page and the pictures of a study.

    Each participant judges one algorithm: `?algorithm=NAME` in the page's address, or one that is
    drawn. Their code, which is drawn too or given as `?participant=CODE`, decides the order. No
    picture is shown twice.

    Args:
        real: a folder of real pictures.
        fakes: for each algorithm its name and a folder of generated pictures.
        to: the folder to write to, which must be new or empty.
        title: the question on the page.
        practice: int, trials with feedback, before the others. Default 10 (the paper).
        trials: int, trials that count. Default 40 (the paper).
        seconds: float, how long each picture is shown. Default 1 (the paper).
        size: int, side in px of the pictures. Default 256 (the paper).
        seed: int, of the pairs.

    Returns:
        The page.

    Raises:
        InputError: too few pictures, a picture that cannot be read, no algorithm, or a folder that
            is taken.

    Example:
        ```python
        write_study(Path("real"), {"CycleGAN": Path("fake")}, Path("study"))
        ```
    """
    if not fakes:
        raise InputError("`fake` is empty: name at least one algorithm and its folder")
    if practice < 0 or trials < 1 or seconds <= 0 or size < 16:
        raise InputError(
            f"practice={practice}, trials={trials}, seconds={seconds}, size={size}: take at least "
            "0, 1, more than 0 and at least 16"
        )
    if to.exists() and (not to.is_dir() or any(to.iterdir())):
        raise InputError(f"to={to}: there is something already: give another `to`")
    needed = practice + trials
    random = np.random.default_rng(seed)
    chosen = {name: _choose(folder, needed, random) for name, folder in {"": real, **fakes}.items()}
    pictures = {  # nothing is written if one of them cannot be read
        name: [_opened(path, size, seed) for path in paths] for name, paths in chosen.items()
    }
    for file, image in (picture for some in pictures.values() for picture in some):
        with atomic_write(to / "pictures" / file) as part:
            image.save(part)
    names = {name: [file for file, _ in some] for name, some in pictures.items()}
    study = {
        "version": 1,
        "title": title,
        "practice": practice,
        "trials": trials,
        "milliseconds": round(1000 * seconds),
        "size": size,
        "pairs": {
            name: [list(pair) for pair in zip(names[""], names[name], strict=True)]
            for name in fakes
        },
    }
    digest = hashlib.sha256(json.dumps(study, sort_keys=True).encode()).hexdigest()
    study["study"] = digest[:16]
    loader = jinja2.PackageLoader("tfcyclegan.studies", ".")
    environment = jinja2.Environment(loader=loader, autoescape=True, trim_blocks=True)
    page = environment.get_template("study.html.j2").render(study=study)
    write_text(to / PAGE, page)
    return to / PAGE


def _choose(folder: Path, count: int, random: np.random.Generator) -> list[Path]:
    """Pictures of a folder in random order."""
    if not folder.is_dir():
        raise InputError(f"{folder}: there is no such folder")
    found: Sequence[Path] = sorted(p for p in folder.rglob("*") if p.suffix.lower() in SUFFIXES)
    if len(found) < count:
        raise InputError(
            f"{folder}: has {len(found)} pictures, but a participant sees {count} of them and none "
            "twice: add pictures, or take fewer `trials`"
        )
    return [found[place] for place in random.permutation(len(found))[:count]]


def _opened(path: Path, size: int, seed: int) -> tuple[str, Image.Image]:
    """A picture, and a file name that does not tell where it comes from."""
    data = path.read_bytes()
    image = open_picture(data, str(path)).image
    side = min(image.size)  # the middle, so that nothing is distorted
    left, top = (image.width - side) // 2, (image.height - side) // 2
    image = image.crop((left, top, left + side, top + side))
    pixels = resized(image, (size, size)) if side != size else np.asarray(image)
    name = hashlib.sha256(f"{seed} {path}".encode() + data).hexdigest()[:20]
    return f"{name}.png", Image.fromarray(pixels)
