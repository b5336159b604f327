"""Tables on the terminal."""

from __future__ import annotations

from collections.abc import Sequence

import rich
from rich.table import Table
from rich.text import Text


def print_table(title: str, rows: Sequence[Sequence[str]], left: int = 1) -> None:
    """Prints a table.

    Args:
        title: the title.
        rows: the header, then the other rows.
        left: number of left-justified columns, which hold words. The others hold numbers.
    """
    head, *body = rows
    table = Table(title=title, title_justify="left")
    for column, name in enumerate(head):
        table.add_column(Text(name), justify="left" if column < left else "right")
    for row in body:
        table.add_row(*map(Text, row))  # names may look like rich's markup
    rich.print(table)
