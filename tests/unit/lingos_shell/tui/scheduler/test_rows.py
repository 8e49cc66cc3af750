"""From a snapshot to cells, lines and graphs."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lingos_kernel.testing.sample_snapshot import CHAT, MIB, busy_snapshot, crowded_snapshot
from lingos_shell.tui.scheduler.bars import bar, graph
from lingos_shell.tui.scheduler.columns import cells, lay_out
from lingos_shell.tui.scheduler.headline import graph_lines, headline
from lingos_shell.tui.scheduler.history import LENGTH, History
from lingos_shell.tui.scheduler.model import SchedulerModel
from lingos_shell.tui.scheduler.overview import overview, tab_spans
from lingos_shell.tui.scheduler.processes import PROCESSES, process_items
from lingos_shell.tui.scheduler.sections import SECTIONS
from lingos_shell.tui.spans import plain, width_of

WIDTHS = (40, 80, 116, 200)


@pytest.mark.parametrize("section", SECTIONS, ids=lambda section: section.name)
@pytest.mark.parametrize("width", WIDTHS)
def test_each_row_of_each_table_fits(section, width: int) -> None:
    """Wide, right-to-left and very long texts included."""
    layout = lay_out(section.columns, width)
    for item in section.items(busy_snapshot()):
        spans = cells(layout, item, {})
        assert sum(width_of((span,)) for span in spans) + len(layout) - 1 == width


@pytest.mark.parametrize("section", SECTIONS, ids=lambda section: section.name)
def test_each_table_orders_by_each_column(section) -> None:
    """Every column can be compared, and keys are unique."""
    items = section.items(busy_snapshot())
    assert len({section.key(item) for item in items}) == len(items)
    for column in section.columns:
        sorted(items, key=column.order)


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("mono", [True, False])
@pytest.mark.parametrize("is_brief", [True, False])
def test_the_headline_fits(width: int, mono: bool, is_brief: bool) -> None:
    """In every width, with and without colours."""
    lines = headline(busy_snapshot(), width, mono=mono, is_brief=is_brief)
    assert {width_of(line) for line in lines} == {width}
    history = History()
    history.add(busy_snapshot())
    assert {width_of(line) for line in graph_lines(history, width, 3)} == {width}
    assert {width_of(line) for line in overview(busy_snapshot(), "processes", width)} == {width}


def test_the_headline_tells_what_is_there() -> None:
    """A GPU's power and bandwidth appear where they are measured, and only there."""
    cpu = busy_snapshot()
    text = "\n".join(plain(line) for line in headline(cpu, 200, mono=False, is_brief=False))
    for word in ("prefix hits 74 %", "of floor 71 %", "preempted 3", "weights 348M", "M 1.6G",
                 "C 38M", "N 44", "L 0.07", "threads 2/3", "temp 52 °C"):  # fmt: skip
        assert word in text
    assert "power" not in text
    device = msgspec.structs.replace(
        cpu.devices[0], name="cuda:0", power_watts=312.0, bandwidth_share=0.9
    )
    gpu = msgspec.structs.replace(cpu, devices=(device,))
    text = "\n".join(plain(line) for line in headline(gpu, 200, mono=False, is_brief=False))
    assert "power 312 W" in text
    assert "bandwidth 90 %" in text


def test_device_memory_is_kv_and_a_share_of_the_weights() -> None:
    """The shares of a model's users add up to its weights."""
    items = process_items(busy_snapshot())
    users = [item for item in items if item.row.kv_bytes]
    shares = sum(item.device_bytes - item.row.kv_bytes for item in users)
    weights = next(m.weight_bytes for m in busy_snapshot().models if m.name == CHAT)
    assert weights - len(users) <= shares <= weights
    assert all(item.device_bytes == 0 for item in items if not item.row.kv_bytes)


def test_who_only_watches_is_idle() -> None:
    """The call that asks for the picture does not make its process run."""
    snapshot = busy_snapshot()
    asking = msgspec.structs.replace(snapshot.calls[0], pid=12, syscall="sys.snapshot")
    watched = msgspec.structs.replace(snapshot, calls=(asking,))
    states = {item.row.pid: item.row.state for item in process_items(watched)}
    assert states[12] == "idle"
    assert states[15] == "running"


@given(
    st.lists(st.floats(0, 100), min_size=1, max_size=5), st.floats(0, 200), st.integers(1, 40),
    st.booleans(),
)  # fmt: skip
def test_bars_are_as_wide_as_told(
    values: list[float], total: float, width: int, mono: bool
) -> None:
    """Parts that do not fit are cut; a part that is not zero is seen while there is room."""
    roles = ["weights", "kv", "cached", "other", "good"]
    line = bar(list(zip(values, roles, strict=False)), total, width, mono=mono)
    assert width_of(line) == width
    if values[0] > 0:
        assert line[0][1] == "weights"


@given(st.lists(st.floats(0, 100), max_size=30), st.integers(1, 20), st.integers(1, 4))
def test_graphs_have_their_size(values: list[float], width: int, height: int) -> None:
    """Newest at the right; what is above zero is seen."""
    lines = graph(values, width, height, max(values, default=0.0), "good")
    assert [width_of(line) for line in lines] == [width] * height
    if values and values[-1] > 0:
        assert plain(lines[-1])[-1] != " "


def test_history_forgets() -> None:
    """Five minutes are kept, the highest value of each second."""
    history = History()
    for quarter in range(4 * (LENGTH + 10)):
        history.add(busy_snapshot(quarter / 4))
    assert len(history.output_per_s) == len(history.kv_share) == LENGTH
    assert history.memory_bytes[-1] > 348 * MIB


def test_tabs_count_their_rows() -> None:
    """Each tab says how many rows its table has."""
    said = {name: plain(spans) for name, spans in tab_spans(busy_snapshot(), "locks")}
    assert said["processes"] == " 1 Processes 8 "
    assert said["locks"] == " 4 Locks 2 "


def test_frozen_tables_stand_while_graphs_go_on() -> None:
    """Freezing holds the picture; letting it go shows the latest."""
    model = SchedulerModel()
    model.take(busy_snapshot(0.0))
    model.toggle_freeze()
    model.take(busy_snapshot(1.0))
    assert model.shown is not None
    assert model.shown.time_s == busy_snapshot(0.0).time_s
    assert len(model.history.output_per_s) == 2
    assert model.latest is not model.shown
    model.toggle_freeze()
    assert model.shown.time_s == busy_snapshot(1.0).time_s


def test_tags_of_the_dead_are_dropped() -> None:
    """A pid that comes again later is not tagged."""
    model = SchedulerModel()
    model.take(crowded_snapshot(10))
    model.toggle_tags([100, 109])
    model.take(crowded_snapshot(5))
    model.rows(0.0)
    assert model.state.tagged == {100}


def test_search_goes_round() -> None:
    """From below the last match it begins at the top."""
    model = SchedulerModel()
    model.take(busy_snapshot())
    rows = model.rows(0.0)
    assert model.find(rows, "ANA", None) in (12, 15)
    assert model.find(rows, "chat research", 12) == 12
    assert model.find(rows, "no such", 12) is None
    assert model.below(1)[0] == 1
    assert set(model.below(12)) == {12, 15}
    assert PROCESSES.column("PID").name == "PID"
