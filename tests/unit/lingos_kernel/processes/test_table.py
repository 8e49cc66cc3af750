"""The process table: opening, ending, signals, priorities, limits, and whose is whose."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from lingos_kernel.errors import InvalidArguments, NotPermitted, QuotaExceeded, UnknownProcess
from lingos_kernel.processes import Limits, Process, ProcessTable, Signal
from lingos_kernel.security.principal import Principal, owner

ROOT = owner("root")
ANN = Principal("ann", "a", frozenset({"llm.*"}))
BOB = Principal("bob", "b", frozenset({"llm.*"}))


class Clock:
    """Seconds that pass when told to."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        """The time."""
        return self.now


class Observer:
    """Writes down what it is told."""

    def __init__(self) -> None:
        self.told: list[tuple[Any, ...]] = []

    def cancel_calls(self, pid: int, reason: str) -> None:
        """Calls are to end."""
        self.told.append(("cancel", pid))

    def stopped(self, pid: int) -> None:
        """Calls are to be held."""
        self.told.append(("stopped", pid))

    def continued(self, pid: int) -> None:
        """Calls may go on."""
        self.told.append(("continued", pid))

    def reniced(self, pid: int, priority: int) -> None:
        """The order changed."""
        self.told.append(("reniced", pid, priority))


class FakeCall:
    """A call in flight."""

    def __init__(self, *, running: bool, queued_s: float = 0.0) -> None:
        self.is_running = running
        self.queued_s = queued_s


@pytest.fixture
def clock() -> Clock:
    """At 0."""
    return Clock()


@pytest.fixture
def table(clock: Clock) -> ProcessTable:
    """A table with the kernel in it."""
    return ProcessTable(ROOT, clock=clock)


@pytest.fixture
def observer(table: ProcessTable) -> Observer:
    """One that the table tells."""
    seen = Observer()
    table.observe(seen)
    return seen


def test_the_kernel_is_process_1(table: ProcessTable) -> None:
    """Pid 1 is there from the start, cannot be closed and takes no signal."""
    assert table.get(1).kind == "kernel"
    table.close(1)
    with pytest.raises(NotPermitted):
        table.signal(1, Signal.KILL, by=ROOT)
    assert [p.pid for p in table.processes()] == [1]


def test_pids_are_never_used_twice(table: ProcessTable) -> None:
    """A closed process's pid stays its own, and the table says how it ended."""
    first = table.open(ANN, "one")
    table.close(first.pid, "done")
    assert table.open(ANN, "two").pid > first.pid
    with pytest.raises(UnknownProcess, match=r"process 2 has ended \(done\)"):
        table.get(first.pid)
    with pytest.raises(UnknownProcess, match="process 99 does not exist"):
        table.get(99)
    assert [p.state for p in table.processes(ended=True)] == ["idle", "ended", "idle"]


def test_whose_is_whose(table: ProcessTable) -> None:
    """A principal sees and acts on its own processes, and an administrator on all."""
    hers = table.open(ANN, "sh")
    for act in (
        lambda: table.owned(hers.pid, BOB),
        lambda: table.signal(hers.pid, Signal.KILL, by=BOB),
        lambda: table.nice(hers.pid, 5, by=BOB),
        lambda: table.limit(hers.pid, Limits(), by=BOB),
        lambda: table.open(BOB, "child", parent=hers.pid),
        lambda: table.owned(hers.pid, Principal("ann", "b")),
    ):
        with pytest.raises(NotPermitted, match="belongs to ann"):
            act()
    assert table.processes(BOB) == []
    assert table.processes(ANN) == [hers]
    assert table.nice(hers.pid, 5, by=Principal("op", capabilities=frozenset({"proc.*"}))) == 0


def test_priorities(table: ProcessTable, observer: Observer) -> None:
    """Priorities are inherited; only an administrator goes below 0; observers hear of changes."""
    parent = table.open(ANN, "sh", priority=7)
    child = table.open(ANN, "job", parent=parent.pid)
    assert child.priority == 7
    assert table.nice(child.pid, 3, by=ANN) == 7
    table.nice(child.pid, 3, by=ANN)
    with pytest.raises(NotPermitted, match="more urgent than ann may be"):
        table.nice(child.pid, -1, by=ANN)
    with pytest.raises(InvalidArguments, match="out of range"):
        table.nice(child.pid, 20, by=ROOT)
    table.nice(child.pid, -20, by=ROOT)
    assert table.nice(child.pid, -5, by=ANN) == -20, "giving urgency back is free"
    assert observer.told == [
        ("reniced", child.pid, 3),
        ("reniced", child.pid, -20),
        ("reniced", child.pid, -5),
    ]


def test_signals(table: ProcessTable, observer: Observer) -> None:
    """STOP and CONT tell once; TERM cancels; KILL cancels and ends."""
    process = table.open(ANN, "sh")
    for name in (Signal.STOP, Signal.STOP, Signal.CONT, Signal.CONT, Signal.TERM):
        table.signal(process.pid, name, by=ANN)
    process.calls.add(FakeCall(running=True))
    table.signal(process.pid, Signal.KILL, by=ANN)
    told = ["stopped", "continued", "cancel", "cancel"]
    assert observer.told == [(what, process.pid) for what in told]
    assert process.state == "ended"
    assert process.ended_why == "killed by ann"


def test_signal_names() -> None:
    """Names are taken with and without SIG, in any case."""
    assert Signal.named("sigterm") is Signal.named("TERM") is Signal.TERM
    with pytest.raises(InvalidArguments, match="signals are TERM, KILL, STOP, CONT"):
        Signal.named("HUP")


def test_a_failing_observer_stops_nobody(
    table: ProcessTable, observer: Observer, caplog: pytest.LogCaptureFixture
) -> None:
    """What one observer cannot do is logged; the others are told all the same."""

    class Broken(Observer):
        def stopped(self, pid: int) -> None:
            """Fail."""
            raise RuntimeError("no")

    later = Observer()
    table.observe(Broken())
    table.observe(later)
    process = table.open(ANN, "x")
    table.signal(process.pid, Signal.STOP, by=ANN)
    assert observer.told == later.told == [("stopped", process.pid)]
    assert "failed" in caplog.text


def test_end_is_told_and_children_move_up(table: ProcessTable) -> None:
    """Who holds something for a process hears of its end; its children get its parent."""
    gone: list[int] = []
    table.on_end(gone.append)
    top = table.open(ANN, "top")
    middle = table.open(ANN, "middle", parent=top.pid)
    low = table.open(ANN, "low", parent=middle.pid)
    assert [(d, p.command) for d, p in table.tree()] == [
        (0, "kernel"),
        (1, "top"),
        (2, "middle"),
        (3, "low"),
    ]
    table.close(middle.pid)
    table.close(middle.pid)
    assert low.parent == top.pid
    table.close(top.pid)
    assert low.parent == 1
    assert table.children(1) == [low]
    assert gone == [middle.pid, top.pid]


def test_children_end_with_their_parent_when_they_asked_to(table: ProcessTable) -> None:
    """`end` takes a child and those below it that ask the same along; others move up."""
    top = table.open(ANN, "top")
    middle = table.open(ANN, "middle", parent=top.pid)
    ends = table.open(ANN, "ends", parent=middle.pid, on_parent_end="end")
    below = table.open(ANN, "below", parent=ends.pid, on_parent_end="end")
    stays = table.open(ANN, "stays", parent=ends.pid)
    table.close(middle.pid, "killed")
    assert (ends.state, below.state) == ("ended", "ended")
    assert ends.ended_why == f"its parent {middle.pid} has ended"
    assert below.ended_why == f"its parent {ends.pid} has ended"
    assert stays.parent == top.pid


def test_a_deep_tree_ends_at_once(table: ProcessTable) -> None:
    """A tree of any depth ends without recursion."""
    pid = top = table.open(ANN, "top").pid
    for _ in range(3000):
        pid = table.open(ANN, "x", parent=pid, on_parent_end="end").pid
    table.close(top)
    assert [p.pid for p in table.processes()] == [1]


def test_the_program_is_the_topmost_process(table: ProcessTable) -> None:
    """All descendants of a process belong to its program; after its end each is its own."""
    top = table.open(ANN, "agent", kind="agent")
    low = table.open(ANN, "tool", parent=table.open(ANN, "step", parent=top.pid).pid)
    other = table.open(ANN, "other")
    assert table.program(low.pid) == table.program(top.pid) == top.pid
    assert table.program(other.pid) == other.pid
    assert table.program(99) == 99
    assert table.is_below(low.pid, top.pid)
    assert table.is_below(low.pid, 1)
    assert not table.is_below(top.pid, top.pid)
    assert not table.is_below(other.pid, top.pid)
    table.close(top.pid)
    assert table.program(low.pid) == low.parent


def test_each_agent_of_a_session_is_a_program(table: ProcessTable) -> None:
    """Agents that one session starts are programs of their own; what an agent starts is not."""
    session = table.open(ANN, "session")
    one, two = (table.open(ANN, "agent", kind="agent", parent=session.pid) for _ in range(2))
    helper = table.open(ANN, "helper", kind="agent", parent=one.pid)
    assert table.program(one.pid) == table.program(helper.pid) == one.pid
    assert table.program(two.pid) == two.pid
    assert table.program(session.pid) == session.pid


def test_processes_of_an_earlier_kernel(table: ProcessTable, observer: Observer) -> None:
    """They keep their pids, stopped ones are held, and new pids come after all of them."""

    def earlier(pid: int, parent: int, **changes: Any) -> Process:
        return Process(pid, parent, ANN, "session", "sh", "", 0, Limits(), 0.0, **changes)

    orphans = [earlier(8, 3), earlier(10, 3, on_parent_end="end"), earlier(11, 10)]
    table.restore([earlier(9, 7, stopped=True), earlier(7, 1), *orphans], last_pid=30)
    assert [(p.pid, p.parent) for p in table.processes()] == [
        (1, 0),
        (7, 1),
        (8, 1),
        (9, 7),
        (11, 1),
    ]
    assert observer.told == [("stopped", 9)]
    assert table.open(ANN, "new").pid == 31


def test_pages_are_given_back_by_a_process_that_ended(table: ProcessTable) -> None:
    """What a process held is no longer counted for its ancestors, even when it ended meanwhile."""
    top = table.open(ANN, "top", limits=Limits(pages=10))
    low = table.open(ANN, "low", parent=top.pid)
    with table.holding(low.pid, pages=4):
        assert table.remaining(low.pid).pages == 6
        table.close(low.pid)
    assert table.remaining(top.pid).pages == 10


def test_state_and_waiting(table: ProcessTable, clock: Clock) -> None:
    """The state follows from the calls; waiting is counted from the oldest queued one."""
    process = table.open(ANN, "x")
    assert process.state == "idle"
    process.calls |= {FakeCall(running=False, queued_s=1), FakeCall(running=False, queued_s=2)}
    assert process.state == "waiting"
    assert process.waited_s(5) == 4
    running = FakeCall(running=True)
    process.calls.add(running)
    assert process.state == "running"
    process.calls = {running}
    assert process.waited_s(5) == 0


def test_limits_hold_for_descendants(table: ProcessTable) -> None:
    """Use is charged to all ancestors, and the least that is left anywhere counts."""
    top = table.open(ANN, "agent", limits=Limits(tokens=100, pages=5))
    low = table.open(ANN, "job", parent=top.pid, limits=Limits(tokens=30, seconds=9))
    assert table.remaining(low.pid) == Limits(tokens=30, seconds=9, pages=5)
    assert [table.tightest(low.pid, name) for name in ("tokens", "pages")] == [low, top]
    assert table.tightest(low.pid, "tool_calls") is low
    table.charge(low.pid, tokens=29, pages=5, seconds=1)
    table.check_limits(low.pid)
    assert table.remaining(low.pid) == Limits(tokens=1, seconds=8, pages=0)
    table.charge(low.pid, tokens=1, pages=-2)
    with pytest.raises(QuotaExceeded, match="30 of 30 tokens"):
        table.check_limits(low.pid)
    table.check_limits(top.pid)
    assert top.used.tokens == 30
    assert top.used.pages == 3
    table.limit(low.pid, Limits(), by=ANN)
    table.check_limits(low.pid)
    assert table.remaining(low.pid) == Limits(tokens=70, pages=2)
    table.charge(99, tokens=1)
    assert table.remaining(99) == Limits()


@pytest.mark.parametrize("value", [-1, float("nan")])
def test_limits_are_not_negative(value: float) -> None:
    """A negative limit is refused by name."""
    with pytest.raises(InvalidArguments, match="seconds"):
        Limits(seconds=value)


def test_history_is_bounded_and_leaves_calls_out(table: ProcessTable) -> None:
    """Ended processes are kept for a while; those of single calls are not."""
    for kind in ("job", "call"):
        for _ in range(300):
            table.close(table.open(ANN, "x", kind=kind).pid)
    ended = [p for p in table.processes(ended=True) if p.state == "ended"]
    assert len(ended) == 256
    assert {p.kind for p in ended} == {"job"}


class Life(RuleBasedStateMachine):
    """Random lives of processes."""

    def __init__(self) -> None:
        super().__init__()
        self.table = ProcessTable(ROOT, clock=Clock())
        self.ended: list[int] = []
        self.table.on_end(self.ended.append)
        self.opened: list[Process] = []

    def live(self) -> list[Process]:
        """Processes that can be acted on."""
        return [p for p in self.opened if p.ended_s is None]

    @rule(data=st.data())
    def open(self, data: st.DataObject) -> None:
        """Open one below any live one."""
        parent = data.draw(st.sampled_from([1, *(p.pid for p in self.live())]))
        how = data.draw(st.sampled_from(["reparent", "end"]))
        self.opened.append(self.table.open(ROOT, "x", parent=parent, on_parent_end=how))

    @precondition(lambda self: self.live())
    @rule(data=st.data(), signal=st.sampled_from(list(Signal)))
    def signal(self, data: st.DataObject, signal: Signal) -> None:
        """Send one a signal."""
        self.table.signal(data.draw(st.sampled_from(self.live())).pid, signal, by=ROOT)

    @precondition(lambda self: self.live())
    @rule(data=st.data())
    def close(self, data: st.DataObject) -> None:
        """Close one, twice."""
        pid = data.draw(st.sampled_from(self.live())).pid
        self.table.close(pid)
        self.table.close(pid)

    @invariant()
    def every_process_is_in_the_tree_once(self) -> None:
        """The tree holds each live process once, below a live parent."""
        in_tree = [p.pid for _, p in self.table.tree()]
        assert sorted(in_tree) == [p.pid for p in self.table.processes()]
        assert sorted(in_tree) == [1, *(p.pid for p in self.live())]

    @invariant()
    def every_end_is_told_once(self) -> None:
        """Observers hear of each end exactly once."""
        assert sorted(self.ended) == [p.pid for p in self.opened if p.ended_s is not None]


TestLife = Life.TestCase
TestLife.settings = settings(max_examples=40, stateful_step_count=30, deadline=None)
