"""Tables fit the terminal, whatever is in them."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from prompt_toolkit.utils import get_cwidth

from lingos_shell.repl.table import table_lines


@given(
    st.integers(1, 8).flatmap(
        lambda n: st.lists(
            st.lists(st.text(max_size=30), min_size=n, max_size=n), min_size=1, max_size=4
        )
    ),
    st.integers(10, 120),
)
@settings(deadline=None)
def test_no_line_is_wider_than_the_terminal(rows: list[list[str]], width: int) -> None:
    """Wide characters count as two; there is a header and a line for each row."""
    columns = [f"c{n}" for n in range(len(rows[0]))]
    lines = list(table_lines(columns, rows, width=width))
    assert len(lines) == len(rows) + 1
    assert all(get_cwidth(line) <= width for line in lines)


def test_numbers_stand_to_the_right_and_empty_columns_go() -> None:
    """As ps and ls write them."""
    rows = [["a", "", "1"], ["bb", "", "10"]]
    assert list(table_lines(["name", "none", "n"], rows, width=40)) == [
        "NAME   N",
        "a      1",
        "bb    10",
    ]


def test_wide_characters_line_up() -> None:
    """A Chinese name does not push its neighbours out of line."""
    lines = list(table_lines(["name", "what"], [["中文", "x"], ["ascii", "y"]], width=40))
    assert [get_cwidth(line[: line.index(c)]) for line, c in zip(lines[1:], "xy", strict=True)] == [
        7, 7,
    ]  # fmt: skip


def test_ten_thousand_rows() -> None:
    """A long list is written whole."""
    rows = [[str(n), "text " * 5] for n in range(10_000)]
    assert len(list(table_lines(["n", "text"], rows, width=80))) == 10_001
