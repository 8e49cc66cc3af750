"""Which rows are shown, and in which order."""

from __future__ import annotations

from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st

from lingos_shell.tui.scheduler.arrange import RESORT_S, Arranger, TableState, in_tree
from lingos_shell.tui.scheduler.columns import Column, Section, cells, lay_out
from lingos_shell.tui.spans import width_of


@dataclass(frozen=True)
class Row:
    """A row of a made-up table."""

    pid: int
    parent: int
    load: int


SECTION: Section[Row] = Section(
    name="rows",
    title="Rows",
    columns=(
        Column("PID", "id", 5, lambda r: str(r.pid), lambda r: r.pid, keep=3),
        Column("LOAD", "load", 5, lambda r: str(r.load), lambda r: r.load, keep=1,
               is_volatile=True, is_descending=True),
        Column("NAME", "name", 0, lambda r: f"row {r.pid}", lambda r: r.pid, keep=2),
    ),
    items=lambda _: (),
    key=lambda r: r.pid,
    words=lambda r: f"row {r.pid}",
    sort="PID",
    parent=lambda r: r.parent,
    tree_column="NAME",
)  # fmt: skip

rows_of = st.lists(
    st.builds(Row, st.integers(1, 30), st.integers(0, 30), st.integers(0, 9)),
    unique_by=lambda row: row.pid,
    max_size=20,
)


def pids(arranger: Arranger, rows: list[Row], state: TableState, now_s: float) -> list[int]:
    """The pids in their order."""
    return [placed.key for placed in arranger.arrange(rows, state, now_s)]


@given(rows_of)
def test_a_tree_shows_each_row_once_after_its_parent(rows: list[Row]) -> None:
    """Orphans stand at the root; only rows that are their own ancestors are left out."""
    placed = in_tree(rows, SECTION.key, SECTION.parent)
    order = [row.key for row in placed]
    assert len(set(order)) == len(order)
    present = {row.pid for row in rows}
    for row in placed:
        above = row.item.parent
        if row.branch:
            assert order.index(above) < order.index(row.key)
        else:
            assert above not in present or above == row.key
    reachable = set(order)
    for row in rows:
        if row.pid not in reachable:  # then so is its parent: they form a ring
            assert row.parent in present - reachable


@given(rows_of, rows_of)
def test_rows_do_not_jump(before: list[Row], after: list[Row]) -> None:
    """Rows ordered by something volatile keep their places until the next sorting."""
    arranger = Arranger(SECTION)
    state = TableState("LOAD", is_descending=True)
    first = pids(arranger, before, state, 0.0)
    second = pids(arranger, after, state, RESORT_S / 2)
    both = set(first) & set(second)
    assert [pid for pid in second if pid in both] == [pid for pid in first if pid in both]
    loads = {row.pid: row.load for row in after}
    third = [loads[pid] for pid in pids(arranger, after, state, RESORT_S * 1.01)]
    assert third == sorted(third, reverse=True)


def test_a_changed_order_is_there_at_once() -> None:
    """Choosing a column does not wait for the next sorting."""
    arranger = Arranger(SECTION)
    rows = [Row(1, 0, 5), Row(2, 0, 9), Row(3, 0, 7)]
    by_load = TableState("PID").sorted_by(SECTION, "LOAD")
    assert by_load.is_descending
    assert pids(arranger, rows, by_load, 0.0) == [2, 3, 1]
    turned = by_load.sorted_by(SECTION, "LOAD")
    assert pids(arranger, rows, turned, 0.1) == [1, 3, 2]


def test_filter_looks_in_the_words() -> None:
    """Upper and lower case are one."""
    rows = [Row(1, 0, 5), Row(12, 0, 9), Row(3, 0, 7)]
    assert pids(Arranger(SECTION), rows, TableState("PID", filter="ROW 1"), 0.0) == [1, 12]


def test_actions_go_to_the_tagged_rows_or_the_selected_one() -> None:
    """Tags win over the cursor; tagging all that are tagged takes their tags away."""
    state = TableState("PID", cursor=3)
    assert state.targets() == (3,)
    tagged = state.toggled([1, 2])
    assert tagged.targets() == (1, 2)
    assert tagged.toggled([1, 2]).targets() == (3,)
    assert TableState("PID").targets() == ()


@given(st.integers(1, 80))
def test_columns_fit_the_width(width: int) -> None:
    """The least needed columns fall away, and cells are as wide as said."""
    layout = lay_out(SECTION.columns, width)
    names = [column.name for column, _ in layout]
    assert names[0] == "PID"
    used = sum(size for _, size in layout) + len(layout) - 1
    assert used == width or names == ["PID"]
    spans = cells(layout, Row(7, 0, 1), {"NAME": "└─ "})
    assert [width_of((span,)) for span in spans] == [size for _, size in layout]
