"""Styled text of exact widths."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from lingos_shell.tui.spans import clean, fit, fit_line, pack, plain, width_of

anything = st.text(max_size=40)
spans = st.lists(st.tuples(anything.map(clean), st.just("text")), max_size=6).map(tuple)


@given(anything, st.integers(0, 50), st.booleans())
def test_a_fitted_text_has_its_width(text: str, width: int, right: bool) -> None:
    """Whatever the script, a cell is exactly as wide as its column."""
    assert cell_len(fit(clean(text), width, right=right)) == width


@given(spans, st.integers(0, 60))
def test_a_fitted_line_has_its_width(line: tuple, width: int) -> None:
    """Lines are padded or cut, wide characters included."""
    assert width_of(fit_line(line, width)) == width


@given(st.lists(spans.filter(bool), max_size=6), st.integers(0, 60))
def test_packed_groups_fit(groups: list, width: int) -> None:
    """Groups that do not fit fall away whole, from the end."""
    packed = pack(groups, width)
    assert width_of(packed) <= width
    if packed and groups:
        assert plain(packed).startswith(plain(groups[0]))


@given(anything)
def test_clean_text_cannot_move_the_cursor(text: str) -> None:
    """No control or direction character comes through, and nothing is lost but those."""
    assert clean(text).isprintable()
    assert len(clean(text)) == len(text)


def test_wide_characters_are_cut_whole() -> None:
    """A cell never shows half a character."""
    assert fit("李雷韩梅", 5) == "李雷…"
    assert fit("李雷韩梅", 4) == "李 …"
    assert fit("ab", 4, right=True) == "  ab"
