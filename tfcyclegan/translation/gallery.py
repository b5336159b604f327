"""Comparison pictures and a self-contained HTML page that shows them."""

from __future__ import annotations

import html
import os
from pathlib import Path
from urllib.parse import quote

from PIL import Image

from ..files import atomic_write

#: The folder of the comparison pictures, in the output folder.
FOLDER = "side-by-side"

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
        shown = html.escape(os.fsencode(name.removesuffix(".jpg")).decode(errors="replace"))
        source = html.escape(quote(os.fsencode(f"{FOLDER}/{name}")))
        figures.append(_FIGURE.format(source=source, name=shown, width=width, height=height))
    if not figures:
        return None
    page = _PAGE.format(
        title=html.escape(title),
        count=f"{len(figures)} picture" + ("s" if len(figures) > 1 else ""),
        figures="\n".join(figures),
    )
    index = directory / "index.html"
    with atomic_write(index) as part:
        part.write_text(page, encoding="utf-8")
    return index


# Both images are the same file. The upper one is clipped at the slider.
_FIGURE = """\
<figure style="--ratio: {width} / {height}; --width: {width}px">
  <div class="pair">
    <img src="{source}" loading="lazy" alt="{name}, translated" class="after">
    <div class="cut"><img src="{source}" loading="lazy" alt="{name}" class="before"></div>
    <input type="range" min="0" max="100" value="50" step="0.1" aria-label="{name}: how much of
      the original to show">
  </div>
  <figcaption>{name}</figcaption>
</figure>"""

_PAGE = """\
<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>
  :root {{ color-scheme: light dark; font-family: system-ui, sans-serif; }}
  body {{ margin: 2rem auto; max-width: 1400px; padding: 0 1rem; }}
  main {{ display: grid; gap: 2rem;
         grid-template-columns: repeat(auto-fill, minmax(min(100%, 380px), 1fr)); }}
  figure {{ margin: 0; }}
  figcaption {{ margin-top: .4rem; overflow-wrap: anywhere; font-size: .9rem; }}
  .pair {{ --at: 50%; position: relative; overflow: hidden; aspect-ratio: var(--ratio);
          border-radius: 6px; background: #8884; }}
  .pair img {{ position: absolute; top: 0; width: 200%; height: 100%; max-width: none; }}
  .after {{ left: -100%; }}
  .before {{ left: 0; }}
  .cut {{ position: absolute; inset: 0; clip-path: inset(0 calc(100% - var(--at)) 0 0); }}
  .pair::after {{ content: ""; position: absolute; top: 0; bottom: 0; left: var(--at);
                 width: 3px; margin-left: -1.5px; background: white;
                 box-shadow: 0 0 4px #000a; pointer-events: none; }}
  .pair input {{ position: absolute; inset: 0; width: 100%; height: 100%; margin: 0;
                opacity: 0; cursor: ew-resize; }}
  .pair:focus-within {{ outline: 3px solid Highlight; }}
</style>
</head>
<body>
<h1>{title}</h1>
<p>{count}. Left of the line the original, right of it the translation: drag the line, or use the
arrow keys.</p>
<main>
{figures}
</main>
<script>
  for (const slider of document.querySelectorAll(".pair input"))
    slider.addEventListener("input", () =>
      slider.parentElement.style.setProperty("--at", slider.value + "%"));
</script>
</body>
</html>
"""
