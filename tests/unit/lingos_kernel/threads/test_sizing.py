"""The sum that says how many threads the pool wants."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lingos_kernel.threads.sizing import UNKNOWN_TASK_S, Mean, TaskTimes, size

seconds = st.floats(min_value=1e-6, max_value=1e3)


def test_the_sum_is_the_one_of_the_design() -> None:
    """T_task = sum(T_i) + T * S and N = T_task / (T_avg + S), with numbers done by hand."""
    sums = size(work_s=3.0, threads=2, average_s=0.4, switch_s=0.1)
    assert sums.task_s == pytest.approx(3.2)
    assert sums.wanted == pytest.approx(6.4)


@given(st.integers(1, 500), seconds)
def test_equal_tasks_want_a_thread_each(tasks: int, task_s: float) -> None:
    """With switches for free and all tasks alike, N is the number of tasks."""
    assert size(tasks * task_s, 1, task_s, 0.0).wanted == pytest.approx(tasks)


@given(seconds, seconds, st.integers(1, 64), seconds, seconds)
def test_more_work_never_wants_fewer_threads(
    work_s: float, more_s: float, threads: int, average_s: float, switch_s: float
) -> None:
    """N grows with the work at hand."""
    before = size(work_s, threads, average_s, switch_s).wanted
    assert size(work_s + more_s, threads, average_s, switch_s).wanted >= before


def test_a_mean_forgets_what_has_left_its_window() -> None:
    """Only the last window_s seconds count; an empty window keeps the last mean."""
    mean = Mean(window_s=10)
    assert mean.value(default=7.0) == 7.0
    mean.record(0.0, 1.0)
    mean.record(5.0, 3.0)
    assert mean.value(0.0) == pytest.approx(2.0)
    mean.record(11.0, 5.0)
    assert mean.value(0.0) == pytest.approx(4.0)


def test_a_mean_is_bounded_in_size() -> None:
    """A flood of measurements keeps only the newest `limit`."""
    mean = Mean(window_s=1e9, limit=4)
    for value in range(100):
        mean.record(0.0, float(value))
    assert mean.value(0.0) == pytest.approx((96 + 97 + 98 + 99) / 4)


def test_tasks_are_expected_to_last_as_long_as_their_syscall_did() -> None:
    """A syscall's own mean goes first, then the mean of all, then a guess."""
    times = TaskTimes(syscalls_limit=2)
    assert times.expected_s("a") == UNKNOWN_TASK_S
    times.record(0.0, "a", 1.0)
    times.record(0.0, "b", 3.0)
    assert times.expected_s("a") == pytest.approx(1.0)
    assert times.expected_s("never seen") == pytest.approx(2.0)
    times.record(0.0, "c", 5.0)
    assert times.expected_s("a") == pytest.approx(3.0), "the oldest name left for the third"


def test_switches_are_measured() -> None:
    """S is the mean of the recorded switches, and a clock's hiccup is no negative one."""
    times = TaskTimes()
    times.record_switch(0.0, 0.002)
    times.record_switch(0.0, -1.0)
    assert times.switch_s == pytest.approx(0.001)
    assert times.sums(1.0, [0.5, 0.5], 2).task_s == pytest.approx(2.002)
