"""When an engine that lives is given up, and when it is not."""

from __future__ import annotations

from lingos_kernel.engine.messages import LoadModel, ModelSpec, Pulse, SetPolicy
from lingos_kernel.engine.pulse import Activity, occupation_of
from lingos_kernel.engine.watchdog import Patience, Watchdog
from lingos_kernel.testing.clock import FakeClock

PATIENCE = Patience(silent_s=30, step_s=300, load_s=3600)


def looks(watchdog: Watchdog, begin_s: int, end_s: int, pulse: Pulse | None = None) -> list[str]:
    """The complaints of a look each second; with a pulse before each when one is given."""
    complaints = []
    for now_s in range(begin_s, end_s):
        if pulse:
            busy_s = pulse.for_s + now_s - begin_s
            watchdog.heard(now_s, Pulse(pulse.occupation, busy_s))
        complaints.append(watchdog.complaint(now_s))
    return [complaint for complaint in complaints if complaint]


def test_silence_is_told_when_it_has_lasted() -> None:
    """Half a minute without any sign of life is too much, and not a second less."""
    watchdog = Watchdog(PATIENCE, 0.0, period_s=1.0)
    assert not looks(watchdog, 1, 30)
    assert looks(watchdog, 30, 31) == ["gave no sign of life for 30 s"]


def test_whatever_it_says_is_a_sign_of_life() -> None:
    """An engine that sends outputs needs no pulse."""
    watchdog = Watchdog(PATIENCE, 0.0, period_s=1.0)
    for now_s in range(1, 100):
        watchdog.heard(now_s)
        assert not watchdog.complaint(now_s)


def test_a_step_may_take_long_and_a_load_longer() -> None:
    """Each occupation has a limit of its own; idling has none."""
    step = looks(Watchdog(PATIENCE, 0.0, period_s=1.0), 1, 302, Pulse("step", 0.0))
    assert step == ["has been busy with one step for 300 s"]
    assert not looks(Watchdog(PATIENCE, 0.0, period_s=1.0), 1, 3000, Pulse("load", 0.0))
    assert looks(Watchdog(PATIENCE, 0.0, period_s=1.0), 1, 3602, Pulse("load", 0.0))
    assert not looks(Watchdog(PATIENCE, 0.0, period_s=1.0), 1, 4000, Pulse("idle", 0.0))


def test_zero_is_for_ever() -> None:
    """Limits can be lifted."""
    patience = Patience(silent_s=0, step_s=0)
    assert not looks(Watchdog(patience, 0.0, period_s=1.0), 1, 5000)
    assert not looks(Watchdog(patience, 0.0, period_s=1.0), 1, 5000, Pulse("step", 0.0))


def test_a_kernel_that_stood_still_blames_nobody() -> None:
    """After a pause of its own (suspended, overloaded) it first reads what was said meanwhile."""
    watchdog = Watchdog(PATIENCE, 0.0, period_s=1.0)
    assert not watchdog.complaint(1.0)
    assert not watchdog.complaint(500.0)
    assert not looks(watchdog, 501, 530)
    assert looks(watchdog, 530, 531)


def test_activity_tells_what_goes_on_since_when() -> None:
    """A load is told apart from other commands, and its age counts from its beginning."""
    clock = FakeClock()
    activity = Activity(clock)
    with activity.of(occupation_of(LoadModel(ModelSpec(name="m", path="")))):
        clock.advance(5.0)
        assert activity.pulse() == Pulse("load", 5.0)
    clock.advance(2.0)
    assert activity.pulse() == Pulse("idle", 2.0)
    assert occupation_of(SetPolicy("fifo")) == "command"
