"""Tests of Python values as context."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

import pytest

from lingos_shell.jupyter.context_values import MAX_ROWS, context_value


@dataclass
class Person:
    """A plain record."""

    name: str
    tags: tuple[str, ...] = ()


class Frame:
    """What a data frame has of interest."""

    def __init__(self, rows: int) -> None:
        self.rows = rows

    def __len__(self) -> int:
        return self.rows

    def head(self, count: int) -> Frame:
        """The first rows."""
        return Frame(min(count, self.rows))

    def to_csv(self) -> str:
        """The rows as CSV."""
        return "n\n" + "".join(f"{row}\n" for row in range(self.rows))


class Line:
    """A line of a plot."""

    def get_label(self) -> str:
        """Its name."""
        return "growth"

    def get_data(self) -> tuple[list[int], list[float]]:
        """Its points."""
        return [1, 2], [0.5, 1.5]


class Axes:
    """The axes of a plot."""

    def get_title(self) -> str:
        """Their title."""
        return "Cities"

    def get_xlabel(self) -> str:
        """What is across."""
        return "year"

    def get_ylabel(self) -> str:
        """What is up."""
        return ""

    def get_xlim(self) -> tuple[float, float]:
        """From where to where across."""
        return (1.0, 2.0)

    def get_ylim(self) -> tuple[float, float]:
        """From where to where up."""
        return (0.0, 1.5)

    def get_lines(self) -> list[Line]:
        """Their lines."""
        return [Line()]


class Figure:
    """What a figure has of interest."""

    def get_axes(self) -> list[Axes]:
        """Its axes."""
        return [Axes()]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("text", "text"),
        (3.5, 3.5),
        (None, None),
        ((1, {2}), [1, [2]]),
        ({1: PurePosixPath("/a/b")}, {"1": "/a/b"}),
        (Person("Ada", ("x",)), {"name": "Ada", "tags": ["x"]}),
        (Frame(1), "n\n0\n"),
        (3j, "3j"),
    ],
)
def test_values_become_json_or_text(value: Any, expected: Any) -> None:
    """What JSON knows stays; records, paths and tables become something that it knows."""
    assert context_value(value) == expected


def test_a_long_table_is_cut_and_says_so() -> None:
    """More rows than a prompt can hold are counted, not given."""
    text = context_value(Frame(MAX_ROWS + 7))
    assert text.endswith("(7 more rows)\n")
    assert text.count("\n") == MAX_ROWS + 2


def test_a_figure_is_told_in_words() -> None:
    """A figure's axes and points are there as text."""
    text = context_value(Figure())
    assert "Cities: x year 1 to 2, y unnamed 0 to 1.5" in text
    assert "line growth: [[1.0, 0.5], [2.0, 1.5]]" in text
