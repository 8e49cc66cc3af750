"""Tests of Python values as context."""

from __future__ import annotations

import datetime
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

import pytest

from lingos_shell.jupyter.context_values import MAX_CHARACTERS, MAX_ROWS, context_value


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


def test_what_holds_itself_is_text() -> None:
    """A list that is in itself has no end as JSON."""
    value: list[Any] = [1]
    value.append(value)
    assert context_value(value) == "[1, [...]]"


def test_real_tables_are_csv_of_bounded_size() -> None:
    """Frames and series are CSV; one with too many columns is cut, and says so."""
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({"city": ["Lima"], "people": [10]})
    assert context_value(frame) == ",city,people\n0,Lima,10\n"
    assert context_value(frame["city"]) == ",city\n0,Lima\n"
    wide = context_value(pandas.DataFrame([range(50_000)]))
    assert len(wide) < MAX_CHARACTERS + 100
    assert wide.endswith(f"(cut after {MAX_CHARACTERS} characters)\n")


def test_arrays_are_numbers_unless_they_are_data() -> None:
    """A vector is given whole; a big matrix is described."""
    numpy = pytest.importorskip("numpy")
    assert context_value(numpy.array([0.5, 1.5])) == [0.5, 1.5]
    assert context_value(numpy.float64(0.5)) == 0.5
    text = context_value(numpy.zeros((200, 300)))
    assert text.startswith("An array of 200 x 300 values (float64), 0.0 to 0.0; it begins [0.0,")


def test_figures_are_told_in_words() -> None:
    """Lines, bars, clouds and pictures of a plot are there as text, dates as numbers."""
    matplotlib = pytest.importorskip("matplotlib")
    matplotlib.use("agg")
    from matplotlib.figure import Figure

    figure = Figure()
    axes = figure.subplots()
    axes.set_title("Cities")
    axes.set_xlabel("year")
    axes.plot([1, 2], [0.5, 1.5], label="growth")
    axes.plot([datetime.date(1970, 1, 2)], [1])
    axes.bar([1], [2], label="people")
    axes.scatter([3], [4])
    axes.imshow([[1, 2]])
    text = context_value(figure)
    assert "Cities: x year" in text
    assert "line growth: [[1.0, 0.5], [2.0, 1.5]]" in text
    assert "line: [[1.0, 1.0]]" in text
    assert "bars people: [[1.0, 2.0]]" in text
    assert "points: [[3.0, 4.0]]" in text
    assert "a picture of 1 x 2 values" in text


def test_a_long_line_is_thinned() -> None:
    """Of a line with many points an even choice is given."""
    matplotlib = pytest.importorskip("matplotlib")
    matplotlib.use("agg")
    from matplotlib.figure import Figure

    figure = Figure()
    figure.subplots().plot(range(1000))
    assert "line (1000, every 20th): [[0.0, 0.0], [20.0, 20.0]," in context_value(figure)
