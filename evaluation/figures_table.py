"""A table of figures for a terminal: names on the left, figures on the right."""

from rich.table import Table


def figures_table(title: str, *columns: str) -> Table:
    """An empty table; every column but the first is aligned to the right."""
    table = Table(title=title, title_justify="left")
    for number, column in enumerate(columns):
        table.add_column(column, justify="right" if number else "left")
    return table
