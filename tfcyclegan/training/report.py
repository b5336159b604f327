"""The report of a run: one HTML file that needs no other file and no network."""

from __future__ import annotations

import base64
import io
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
from PIL import Image

from ..evaluation.metrics import METRICS
from ..evaluation.result import Evaluation
from ..files import write_text
from .config import Config
from .evaluation import read_best
from .history import read_history
from .plots import loss_curves, score_curves

#: The most sample grids in a report. Of more, evenly spaced ones are shown.
GRIDS = 24

_DIRECTIONS = {"AtoB": "A to B (G)", "BtoA": "B to A (F)"}


def write_report(
    directory: str | Path | None,
    evaluation: Evaluation | None,
    to: str | Path | None = None,
    model: str | None = None,
) -> Path:
    """Writes `report.html`: settings, curves, scores, samples, best and worst translations.

    Args:
        directory: the run folder, or None. What the folder lacks is left out of the report.
        evaluation: the `Evaluation` of the model, or None.
        to: folder of the report. Default: the run folder.
        model: name of the evaluated file. Default: the run's last model; the report then shows
            the scores of the best one as well.

    Returns:
        `pathlib.Path` of the report.

    Raises:
        InputError: a file of the run is damaged, or the report cannot be written.

    Example:
        ```python
        write_report("runs/mine", evaluator(model.translators))
        ```
    """
    directory = Path(directory) if directory else None
    folder = to or directory
    assert folder, "a report needs a folder"
    path = Path(folder) / "report.html"
    rows, grids, config, best = [], [], None, None
    if directory:
        rows, grids = read_history(directory / "history.csv"), _grids(directory / "samples")
        if (directory / "config.json").exists():
            config = Config.load(directory / "config.json")
        if model is None and (best := read_best(directory)):
            best["tables"] = _tables(Evaluation.from_dict(best["evaluation"]))
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("tfcyclegan.training", "."),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["embedded"] = lambda pixels: _embedded(Image.fromarray(np.squeeze(pixels)))
    page = environment.get_template("report.html.j2").render(
        name=(directory or path.parent).resolve().name,
        title=model or "The last model (model.keras)",
        config=config,
        settings={n: v for n, v in config.flat().items() if v is not None} if config else {},
        last=_tables(evaluation) if evaluation else None,
        best=best,
        meanings={metric.label: metric.meaning for metric in METRICS.values()},
        curves=_curves(rows) if rows else [],
        grids=grids,
        directions=_DIRECTIONS,
        examples=evaluation.examples if evaluation else {},
    )
    write_text(path, page)
    return path


def _curves(rows: list[dict[str, Any]]) -> list[str]:
    """The curves of scores and losses, as SVG."""
    import matplotlib

    scores = score_curves(rows, {name: metric.label for name, metric in METRICS.items()})
    texts = []
    for figure in (scores, loss_curves(rows)):
        if figure:
            file = io.StringIO()
            with matplotlib.rc_context({"svg.fonttype": "none"}):
                figure.savefig(file, format="svg", metadata={"Date": None})
            texts.append(file.getvalue()[file.getvalue().index("<svg") :])
    return texts


def _tables(evaluation: Evaluation) -> dict[str, Any]:
    directions = {_DIRECTIONS[way]: evaluation.rows(way) for way in evaluation.scores}
    return {"directions": directions, "facts": evaluation.facts()}


def _grids(folder: Path) -> list[dict[str, str]]:
    """The sample grids, from the first epoch to the last."""
    paths = sorted(folder.glob("epoch_*.png"))
    if len(paths) > GRIDS:
        places = np.linspace(0, len(paths) - 1, GRIDS).round().astype(int)
        paths = [paths[place] for place in places]
    grids = []
    for path in paths:
        try:
            title = f"epoch {int(path.stem.removeprefix('epoch_'))}"
            with Image.open(path) as image:
                grids.append({"title": title, "data": _embedded(image, quality=85)})
        except (OSError, ValueError, Image.DecompressionBombError):
            continue  # damaged, or not a sample grid
    return grids


def _embedded(image: Image.Image, quality: int = 92) -> str:
    """The picture as a data URL."""
    file = io.BytesIO()
    image.convert("RGB").save(file, "WEBP", quality=quality)
    return "data:image/webp;base64," + base64.b64encode(file.getvalue()).decode()
