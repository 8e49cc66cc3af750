"""Reasoning, branches, tables and tabs, without a screen."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from lingos_shell.tui.sessions.branches import branch_name, branch_points
from lingos_shell.tui.sessions.clipping import clip, table_lines
from lingos_shell.tui.sessions.reasoning import split_reasoning
from lingos_shell.tui.sessions.tab_bar import TabState, tab_line
from lingos_shell.tui.spans import width_of


def test_reasoning_while_it_streams() -> None:
    """No mark is ever seen, however the text is cut."""
    whole = "<think>let me see</think>\n\nThe answer."
    assert split_reasoning(whole) == ("let me see", "The answer.")
    for end in range(len(whole)):
        assert "<" not in "".join(split_reasoning(whole[:end]))
    assert split_reasoning("so</think>yes") == ("so", "yes")
    assert split_reasoning("plain <b>") == ("", "plain <b>")


def test_branches() -> None:
    """A place where contexts go on otherwise is known by its token."""
    first = {"role": "user", "content": "a", "end": 5}
    one, two = ({"role": "user", "content": text, "end": 9} for text in "bc")
    shown = {"talk": [first, one], "talk:2": [first, two]}
    assert branch_points("talk", shown) == {5: ["talk", "talk:2"]}
    assert branch_name("talk:2", shown) == "talk:3"


@given(st.text(max_size=300), st.integers(1, 20))
def test_clipping_counts_what_is_left_out(text: str, lines: int) -> None:
    """Shown lines and those that are left out are all there are."""
    shown, more = clip(text, lines=lines)
    count = len(text.splitlines())
    assert more == max(0, count - lines)
    assert all(c == "\n" or c.isprintable() for c in shown)


@given(st.lists(st.tuples(st.text(), st.text()), min_size=1, max_size=5), st.integers(24, 80))
def test_tables_fit(rows: list[tuple[str, str]], width: int) -> None:
    """No cell line is wider than what there is, but for the gap at its end."""
    for line in table_lines(("a", "b"), rows, width):
        assert width_of(line) <= width + 2


def test_the_open_tab_is_in_sight() -> None:
    """Tabs before it go first when there is no room."""
    tabs = [TabState(f"session-{n}") for n in range(20)]
    line, places = tab_line(tabs, 15, 40)
    assert width_of(line) == 40
    assert 0 < places[15].stop <= 40
