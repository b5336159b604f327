"""How Sphinx builds the documentation: `make docs`."""

import inspect
import re
import sys
from pathlib import Path

from sphinx.util.inspect import stringify_signature

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

import tfcyclegan  # noqa: E402

project = "tfcyclegan"
version = release = tfcyclegan.__version__
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.viewcode"]
exclude_patterns = ["_build"]
html_theme = "alabaster"
highlight_language = "none"  # a plain block is a command line
myst_heading_anchors = 3
autodoc_member_order = "bysource"
autodoc_typehints = "none"  # the docstrings give types, and what the values mean
napoleon_numpy_docstring = False
napoleon_use_ivar = True

SOURCES = "https://github.com/tfcyclegan/tfcyclegan/blob/main/"


def link_sources(app, page, text):
    """Points links that leave docs/ at the repository."""
    text[0] = re.sub(r"\]\(\.\./", f"]({SOURCES}", text[0])


def markdown_to_rst(app, what, name, thing, options, lines):
    """Translates the Markdown that docstrings use: fenced code and `code`."""
    blocks = re.split(r"^( *)```(\w*)\n(.*?)^ *```$", "\n".join(lines), flags=re.M | re.S)
    text = [_escaped(blocks[0])]
    for indent, language, code, after in zip(*(blocks[i::4] for i in range(1, 5)), strict=True):
        text.append(f"{indent}.. code-block:: {language or 'none'}\n\n")
        text.append(re.sub(r"^(?=.)", "    ", code, flags=re.M))
        text.append(_escaped(after))
    lines[:] = "".join(text).split("\n")


def _escaped(text):
    parts = re.split(r"(`[^`]+`)", text)
    parts[::2] = [part.replace("|", r"\|") for part in parts[::2]]
    parts[1::2] = [f"`{part}`" for part in parts[1::2]]
    # Markup must end before a letter: `Network`s.
    return re.sub(r"``(?=\x00\w)", r"``\\ ", "\x00".join(parts)).replace("\x00", "")


_described = set()


def describe_once(app, what, name, thing, skip, options):
    """Leaves out what a package re-exports that an earlier section of the page describes."""
    if skip or what != "module":
        return skip
    repeated = id(thing) in _described
    _described.add(id(thing))
    return repeated


def constructor_signature(app, what, name, thing, options, signature, returns):
    """Shows the arguments of `__init__` where Keras hides them behind `__new__`."""
    if what == "class" and signature == "(*args, **kwargs)":
        found = inspect.signature(thing.__init__)
        found = found.replace(parameters=list(found.parameters.values())[1:])
        return stringify_signature(found, show_annotation=False), None
    return None


def setup(app):
    app.connect("autodoc-process-signature", constructor_signature)
    app.connect("source-read", link_sources)
    app.connect("autodoc-process-docstring", markdown_to_rst, priority=1)  # before napoleon
    app.connect("autodoc-skip-member", describe_once)
