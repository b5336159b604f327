"""Pictures for people: sample grids and curves."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from ..files import atomic_write

if TYPE_CHECKING:
    from matplotlib.figure import Figure


#: Cells of a grid are scaled up to about this many px, so that small pictures can be seen.
_CELL = 128


_GAP, _HEADER = 4, 22


def draw_grid(columns: Mapping[str, Sequence[np.ndarray]], path: str | Path) -> Image.Image:
    """Draws pictures side by side, a column for each name, and writes a PNG.

    Args:
        columns: name → uint8 pictures `[H, W, 1 or 3]`; all columns as long as the shortest.
        path: of the PNG.

    Returns:
        The drawn image.
    """
    rows = min(len(images) for images in columns.values())
    height, width = next(iter(columns.values()))[0].shape[:2]
    scale = max(1, round(_CELL / width))
    height, width = height * scale, width * scale
    sheet = Image.new(
        "RGB",
        (len(columns) * (width + _GAP) - _GAP, _HEADER + rows * (height + _GAP) - _GAP),
        "white",
    )
    pen, font = ImageDraw.Draw(sheet), _font(columns, width)
    for column, (name, images) in enumerate(columns.items()):
        left = column * (width + _GAP)
        pen.text((left + width / 2, _HEADER / 2), name, fill="black", font=font, anchor="mm")
        for row in range(rows):
            cell = Image.fromarray(np.squeeze(images[row])).convert("RGB")
            cell = cell.resize((width, height), Image.Resampling.NEAREST)
            sheet.paste(cell, (left, _HEADER + row * (height + _GAP)))
    with atomic_write(path) as part:
        sheet.save(part)
    return sheet


def _font(names: Iterable[str], width: int) -> Any:
    """The largest up to 14 px in which every name fits a column."""
    for size in range(14, 7, -1):
        font = ImageFont.load_default(size)
        if max(map(font.getlength, names)) <= width:
            break
    return font


def draw_curves(rows: Sequence[Mapping[str, Any]], path: str | Path) -> None:
    """Draws losses and the learning rate over the epochs and writes a PNG.

    Args:
        rows: of `history.csv`, with `epoch` and a number for each name.
        path: of the PNG.
    """
    with atomic_write(path) as part:
        loss_curves(rows).savefig(part, dpi=110)


def loss_curves(rows: Sequence[Mapping[str, Any]]) -> Figure:
    """Losses and the learning rate over the epochs; those of test pictures are dashed.

    Args:
        rows: see `draw_curves`.
    """
    panels = {
        "adversarial": ("G_loss", "F_loss"),
        "discriminators": ("D_A_loss", "D_B_loss"),
        "cycle and identity": ("cycle_A", "cycle_B", "identity_A", "identity_B"),
        "learning rate": ("learning_rate",),
    }
    return _curves(rows, panels)


def score_curves(rows: Sequence[Mapping[str, Any]], titles: Mapping[str, str]) -> Figure | None:
    """Scores of both directions over the epochs, or None where none was logged.

    Args:
        rows: see `draw_curves`; scores are named `AtoB_psnr` and so on.
        titles: of the scores, by their names without the direction.
    """
    logged = {name for row in rows for name, value in row.items() if value not in ("", None)}
    panels = {
        title: tuple(n for n in (f"AtoB_{name}", f"BtoA_{name}") if n in logged)
        for name, title in titles.items()
    }
    panels = {title: names for title, names in panels.items() if names}
    return _curves(rows, panels) if panels else None


def _curves(rows: Sequence[Mapping[str, Any]], panels: Mapping[str, tuple[str, ...]]) -> Figure:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    lines = -(-len(panels) // 2)
    figure = Figure(figsize=(10, 3.25 * lines), layout="constrained")
    FigureCanvasAgg(figure)
    places = figure.subplots(lines, 2, squeeze=False).flat
    for axes, (title, names) in zip(places, panels.items(), strict=False):
        axes.set(title=title, xlabel="epoch")
        axes.grid(alpha=0.3)
        for name in names:
            points = _points(rows, name)
            if not points:
                continue
            few = "o" if len(points) < 30 else ""
            (line,) = axes.plot(*zip(*points, strict=True), few + "-", ms=3, label=name)
            if held := _points(rows, f"val_{name}"):
                axes.plot(
                    *zip(*held, strict=True),
                    few + "--",
                    ms=3,
                    color=line.get_color(),
                    label=f"{name}, test pictures",
                )
        axes.set_ylim(bottom=0 if axes.get_ylim()[0] >= 0 else None)
        if axes.has_data():
            axes.legend()
    for axes in places:
        axes.set_visible(False)
    return figure


def _points(rows: Sequence[Mapping[str, Any]], name: str) -> list[tuple[int, float]]:
    return [(int(row["epoch"]), float(row[name])) for row in rows if row.get(name)]
