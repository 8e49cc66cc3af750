"""Admission: bounds hold, the most urgent starts first, nobody is forgotten."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from lingos_kernel.errors import QueueFull
from lingos_kernel.syscalls.admission import Admission, Bounds


class Ask:
    """A call that wants in."""

    def __init__(self, priority: int = 0, pid: int = 1, who: str = "me") -> None:
        self.priority = priority
        self.pid = pid
        self.tenant_key = who


def test_retry_after_follows_the_durations() -> None:
    """The estimate grows with the queue and with how long calls take, within bounds."""
    admission = Admission(Bounds(running=1, queued=2))
    first, second, third = Ask(), Ask(), Ask()
    assert [admission.enter(first), admission.enter(second), admission.enter(third)] == [
        True,
        False,
        False,
    ]
    with pytest.raises(QueueFull) as caught:
        admission.enter(Ask())
    assert caught.value.retry_after_s == 3.0, "a second each, when nothing is known"
    admission.leave(first, run_s=10)
    assert admission.retry_after_s() == 30
    admission.leave(second, run_s=0)
    assert admission.retry_after_s() == 20
    assert admission.next() is third
    admission.leave(third, run_s=1e9)
    assert admission.retry_after_s() == 60


class Gate(RuleBasedStateMachine):
    """Random entries, ends, renices and holds, against a plain model."""

    def __init__(self) -> None:
        super().__init__()
        self.admission = Admission(Bounds(running=2, queued=4, per_principal=4))
        self.running: list[Any] = []
        self.waiting: list[Any] = []
        self.held: set[int] = set()

    def pump(self) -> None:
        """Start what may start, and see that it is the right one."""
        while True:
            ready = [call for call in self.waiting if call.pid not in self.held]
            best = min(ready, key=lambda call: call.priority, default=None)
            found = self.admission.next()
            assert found is (best if len(self.running) < 2 else None)
            if found is None:
                return
            self.waiting.remove(found)
            self.running.append(found)

    @rule(priority=st.integers(-2, 2), pid=st.integers(1, 3), who=st.sampled_from("ab"))
    def enter(self, priority: int, pid: int, who: str) -> None:
        """A call comes."""
        call = Ask(priority, pid, who)
        everybody = [*self.running, *self.waiting]
        starts = len(self.running) < 2 and pid not in self.held
        is_full = len(self.waiting) >= 4 and not starts
        if sum(other.tenant_key == who for other in everybody) >= 4 or is_full:
            with pytest.raises(QueueFull):
                self.admission.enter(call)
            return
        assert self.admission.enter(call) == starts
        (self.running if starts else self.waiting).append(call)

    @precondition(lambda self: self.running or self.waiting)
    @rule(data=st.data())
    def leave(self, data: st.DataObject) -> None:
        """A call ends, wherever it is."""
        call = data.draw(st.sampled_from([*self.running, *self.waiting]))
        self.admission.leave(call, run_s=0.1)
        (self.running if call in self.running else self.waiting).remove(call)
        self.pump()

    @precondition(lambda self: self.waiting)
    @rule(data=st.data(), priority=st.integers(-2, 2))
    def renice(self, data: st.DataObject, priority: int) -> None:
        """A waiting call becomes more or less urgent."""
        call = data.draw(st.sampled_from(self.waiting))
        call.priority = priority
        self.admission.reorder(call)

    @rule(pid=st.integers(1, 3))
    def hold(self, pid: int) -> None:
        """A process is stopped."""
        self.held.add(pid)
        self.admission.hold(pid)

    @rule(pid=st.integers(1, 3))
    def release(self, pid: int) -> None:
        """A process may go on."""
        self.held.discard(pid)
        self.admission.release(pid)
        self.pump()

    @invariant()
    def counts_agree(self) -> None:
        """Numbers and places are those of the model."""
        assert self.admission.running == len(self.running)
        assert self.admission.queued == len(self.waiting)
        ready = [call for call in self.waiting if call.pid not in self.held]
        ready.sort(key=lambda call: call.priority)
        assert self.admission.positions() == {call: n for n, call in enumerate(ready)}


TestGate = Gate.TestCase
TestGate.settings = settings(max_examples=40, stateful_step_count=30, deadline=None)
