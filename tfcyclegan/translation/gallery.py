"""Comparison pictures and a self-contained HTML page that shows them."""

from __future__ import annotations

import os
from pathlib import Path
from urllib.parse import quote

import jinja2
from PIL import Image

from ..files import atomic_write

#: The folder of the comparison pictures, in the output folder.
FOLDER = "side-by-side"

#: The page that shows them.
INDEX = "index.html"

#: Longer side in px of each half, enough for a screen.
_LONGEST = 1600


def write_comparison(before: Image.Image, after: Image.Image, directory: Path, name: str) -> None:
    """Saves a picture and its translation side by side.

    Args:
        before: the picture.
        after: its translation, of the same size.
        directory: the output folder. The file is `side-by-side/NAME.jpg` below it.
        name: the picture's path below the output folder.
    """
    scale = min(1.0, _LONGEST / max(before.size))
    size = (max(1, round(before.width * scale)), max(1, round(before.height * scale)))
    both = Image.new("RGB", (2 * size[0], size[1]))
    both.paste(before.convert("RGB").resize(size, Image.Resampling.LANCZOS), (0, 0))
    both.paste(after.convert("RGB").resize(size, Image.Resampling.LANCZOS), (size[0], 0))
    with atomic_write(directory / FOLDER / f"{name}.jpg") as part:
        both.save(part, "JPEG", quality=92, subsampling=0)


def write_gallery(directory: Path, title: str) -> Path | None:
    """Writes `index.html` with all comparison pictures, sorted by name.

    Args:
        directory: the output folder.
        title: the title of the page.

    Returns:
        Its path, or None if there are no comparison pictures.
    """
    folder = directory / FOLDER
    figures = []
    for path in sorted(folder.rglob("[!.]*.jpg")):
        try:
            with Image.open(path) as image:
                width, height = image.width // 2, image.height
        except OSError:
            continue  # not a picture
        name = path.relative_to(folder).as_posix()
        # File names need not be valid UTF-8.
        shown = os.fsencode(name.removesuffix(".jpg")).decode(errors="replace")
        figures.append((shown, quote(os.fsencode(f"{FOLDER}/{name}")), width, height))
    if not figures:
        return None
    loader = jinja2.PackageLoader("tfcyclegan.translation", ".")
    environment = jinja2.Environment(loader=loader, autoescape=True, trim_blocks=True)
    page = environment.get_template("gallery.html.j2").render(title=title, figures=figures)
    index = directory / INDEX
    with atomic_write(index) as part:
        part.write_text(page, encoding="utf-8")
    return index
