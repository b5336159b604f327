"""`report.html` of a run: one file, with everything in it, that opens from disk."""

from __future__ import annotations

import base64
import csv
import io
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
from PIL import Image

from ..errors import InputError
from ..evaluation.metrics import METRICS
from ..evaluation.result import Evaluation, Example
from ..files import atomic_write
from .config import Config
from .evaluation import read_best
from .plots import loss_curves, score_curves

#: Sample grids in the page at the most, evenly picked, so that it does not grow with the run.
GRIDS = 24


_DIRECTIONS = {"AtoB": "A to B (G)", "BtoA": "B to A (F)"}


def write_report(
    directory: str | Path | None,
    evaluation: Evaluation | None,
    to: str | Path | None = None,
    model: str | None = None,
) -> Path:
    """Writes a run's page: settings, curves, scores, sample grids, best and worst translations.

    Args:
        directory: the run folder, or None where there is none; what is not there is left out.
        evaluation: of its model, or None.
        to: folder for the page. Default: the run folder.
        model: name of the file that was evaluated. Default: the run's last model, and then the
            scores of its best one are shown as well.

    Returns:
        Its path.

    Raises:
        InputError: a file of the run is damaged, or the page cannot be written.
    """
    directory = Path(directory) if directory else None
    folder = to or directory
    assert folder, "a page needs a folder"
    path = Path(folder) / "report.html"
    rows, grids, config, best = [], [], None, None
    if directory:
        rows, grids = _history(directory / "history.csv"), _grids(directory / "samples")
        if (directory / "config.json").exists():
            config = Config.load(directory / "config.json")
        best = read_best(directory) if model is None else None
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("tfcyclegan.training", "."),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    page = environment.get_template("report.html.j2").render(
        name=(directory or path.parent).resolve().name,
        title=model or "The last model (model.keras)",
        config=config,
        settings={n: v for n, v in config.flat().items() if v is not None} if config else {},
        last=_tables(evaluation) if evaluation else None,
        best={**best, "tables": _tables(Evaluation.from_dict(best["evaluation"]))}
        if best
        else None,
        meanings={m.label: m.meaning for m in METRICS.values()},
        curves=[_svg(figure) for figure in _figures(rows)],
        grids=grids,
        examples={
            _DIRECTIONS[way]: [_example(example) for example in shown]
            for way, shown in (evaluation.examples if evaluation else {}).items()
        },
    )
    with atomic_write(path) as part:
        part.write_text(page, encoding="utf-8")
    return path


def _history(path: Path) -> list[dict[str, Any]]:
    """The rows of `history.csv`."""
    if not path.exists():
        return []
    try:
        with path.open(newline="") as file:
            rows = list(csv.DictReader(file))
        for row in rows:
            int(row["epoch"])
            [float(value) for value in row.values() if value]
    except (OSError, ValueError, KeyError, TypeError, csv.Error) as problem:
        raise InputError(f"{path}: damaged ({problem}): move it away to go on without") from problem
    return rows


def _figures(rows: list[dict[str, Any]]) -> list[Any]:
    if not rows:
        return []
    scores = score_curves(rows, {name: metric.label for name, metric in METRICS.items()})
    return [figure for figure in (scores, loss_curves(rows)) if figure]


def _svg(figure: Any) -> str:
    import matplotlib

    file = io.StringIO()
    with matplotlib.rc_context({"svg.fonttype": "none"}):
        figure.savefig(file, format="svg", metadata={"Date": None})
    return file.getvalue()[file.getvalue().index("<svg") :]


def _tables(evaluation: Evaluation) -> dict[str, Any]:
    return {
        "directions": {_DIRECTIONS[way]: evaluation.rows(way) for way in evaluation.scores},
        "facts": evaluation.facts(),
    }


def _grids(folder: Path) -> list[dict[str, str]]:
    """Sample grids from the first epoch to the last."""
    paths = sorted(folder.glob("epoch_*.png"))
    if len(paths) > GRIDS:
        places = np.linspace(0, len(paths) - 1, GRIDS).round().astype(int)
        paths = [paths[place] for place in places]
    grids = []
    for path in paths:
        try:
            with Image.open(path) as image:
                grids.append(
                    {
                        "title": f"epoch {int(path.stem.removeprefix('epoch_'))}",
                        "data": _embedded(image.convert("RGB"), quality=85),
                    }
                )
        except (OSError, ValueError, Image.DecompressionBombError):
            continue  # not one of ours, or damaged
    return grids


def _example(example: Example) -> dict[str, Any]:
    return {
        "name": Path(example.name).name,
        "error": example.error,
        "pictures": [
            _embedded(Image.fromarray(np.squeeze(pixels)).convert("RGB"))
            for pixels in (example.image, example.translated, example.cycled)
        ],
    }


def _embedded(image: Image.Image, quality: int = 92) -> str:
    """A picture as an address that holds it."""
    file = io.BytesIO()
    image.save(file, "WEBP", quality=quality)
    return "data:image/webp;base64," + base64.b64encode(file.getvalue()).decode()
