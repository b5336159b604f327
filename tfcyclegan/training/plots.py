"""Drawings of a run: sample grids and curves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from ..files import atomic_write

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: Pictures in a grid are enlarged to about this many px.
_CELL = 128

_GAP, _HEADER = 4, 22


def draw_grid(columns: Mapping[str, Sequence[np.ndarray]], path: str | Path) -> Image.Image:
    """Draws pictures side by side, one column for each name, and writes a PNG.

    Args:
        columns: uint8 pictures `[H, W, 1 or 3]` of one size, by the name of their column. Columns
            are cut to the shortest one.
        path: path of the PNG.

    Returns:
        The drawn `PIL.Image`.
    """
    rows = min(len(images) for images in columns.values())
    height, width = next(iter(columns.values()))[0].shape[:2]
    scale = max(1, round(_CELL / width))
    height, width = height * scale, width * scale
    size = (len(columns) * (width + _GAP) - _GAP, _HEADER + rows * (height + _GAP) - _GAP)
    sheet = Image.new("RGB", size, "white")
    for points in range(14, 7, -1):  # the largest font in which every name fits its column
        font = ImageFont.load_default(points)
        if max(map(font.getlength, columns)) <= width:
            break
    pen = ImageDraw.Draw(sheet)
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


def loss_curves(rows: Sequence[Mapping[str, Any]]) -> Figure:
    """Plots losses and the learning rate over the epochs.

    Losses on the test pictures are dashed.

    Args:
        rows: rows of `history.csv`: `epoch`, and numbers by name.
    """
    return _curves(
        rows,
        {
            "adversarial": ("G_loss", "F_loss"),
            "discriminators": ("D_A_loss", "D_B_loss", "D_loss"),
            "cycle and identity": ("cycle_A", "cycle_B", "identity_A", "identity_B"),
            "distance to the truth": ("L1",),
            "learning rate": ("learning_rate",),
        },
    )


def score_curves(rows: Sequence[Mapping[str, Any]], titles: Mapping[str, str]) -> Figure | None:
    """Plots the scores of both directions over the epochs.

    Args:
        rows: see `loss_curves`. Scores are named `AtoB_psnr` and so on.
        titles: titles of the scores, by their names without the direction.

    Returns:
        The figure, or None if there are no scores.
    """
    panels = {}
    for name, title in titles.items():
        logged = tuple(n for n in (f"AtoB_{name}", f"BtoA_{name}") if _points(rows, n))
        if logged:
            panels[title] = logged
    return _curves(rows, panels) if panels else None


def _curves(rows: Sequence[Mapping[str, Any]], panels: Mapping[str, tuple[str, ...]]) -> Figure:
    from matplotlib.figure import Figure

    panels = {
        title: names
        for title, names in panels.items()
        if any(_points(rows, logged) for name in names for logged in (name, f"val_{name}"))
    }
    lines = -(-len(panels) // 2)
    figure = Figure(figsize=(10, 3.25 * lines), layout="constrained")
    places = figure.subplots(lines, 2, squeeze=False).flat
    for axes, (title, names) in zip(places, panels.items(), strict=False):
        axes.set(title=title, xlabel="epoch")
        axes.grid(alpha=0.3)
        for name in names:
            colour = None
            for logged, style in ((name, "-"), (f"val_{name}", "--")):
                if not (points := _points(rows, logged)):
                    continue
                marker = "o" if len(points) < 30 else ""
                label = name if logged == name else f"{name}, test pictures"
                (line,) = axes.plot(
                    *zip(*points, strict=True), marker + style, ms=3, color=colour, label=label
                )
                colour = line.get_color()
        axes.set_ylim(bottom=0 if axes.get_ylim()[0] >= 0 else None)
        if axes.has_data():
            axes.legend()
    for axes in places:
        axes.set_visible(False)
    return figure


def _points(rows: Sequence[Mapping[str, Any]], name: str) -> list[tuple[int, float]]:
    return [(int(row["epoch"]), float(row[name])) for row in rows if row.get(name)]
