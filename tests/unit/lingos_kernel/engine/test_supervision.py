"""When a dead engine is brought back, and when it is given up."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from lingos_kernel.engine.supervision import RestartPolicy, Supervisor


def test_waits_longer_each_time() -> None:
    """The first restart is at once, the next ones wait 0.1 s, 0.2 s, 0.4 s; then it is over."""
    supervisor = Supervisor(RestartPolicy())
    assert [supervisor.on_crash(float(i)) for i in range(5)] == [0.0, 0.1, 0.2, 0.4, None]


def test_wait_is_bounded() -> None:
    """No restart waits longer than the policy's most."""
    supervisor = Supervisor(RestartPolicy(max_crashes=100, max_delay_s=1.0))
    assert [supervisor.on_crash(0.0) for _ in range(50)][-1] == 1.0


def test_cool_down() -> None:
    """After giving up one must wait; a retry begins with a clean slate."""
    supervisor = Supervisor(RestartPolicy(max_crashes=1, cool_down_s=30.0))
    assert supervisor.retry_after_s(0.0) == 0.0
    assert supervisor.on_crash(100.0) is None
    assert supervisor.retry_after_s(110.0) == 20.0
    assert supervisor.retry_after_s(131.0) == 0.0
    supervisor.on_retry()
    assert supervisor.retry_after_s(110.0) == 0.0


@given(st.lists(st.floats(0.0, 50.0), max_size=40))
def test_gives_up_only_within_the_window(gaps_s: list[float]) -> None:
    """It gives up exactly when `max_crashes` of them lie within the window."""
    policy = RestartPolicy(max_crashes=5, window_s=60.0)
    supervisor = Supervisor(policy)
    times: list[float] = []
    now_s = 0.0
    for gap_s in gaps_s:
        now_s += gap_s
        times.append(now_s)
        recent = [t for t in times if now_s - t < policy.window_s]
        delay_s = supervisor.on_crash(now_s)
        assert (delay_s is None) == (len(recent) >= policy.max_crashes)
        if delay_s is None:
            supervisor.on_retry()
            times.clear()
