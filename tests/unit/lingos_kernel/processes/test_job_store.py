"""The records of jobs against a naive model: whatever happens, an end is recorded once."""

from __future__ import annotations

import asyncio
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from lingos_kernel.errors import (
    Busy,
    CallTimeout,
    Cancelled,
    EngineDied,
    LingOSError,
    NotPermitted,
    SyscallFailed,
    UsageError,
)
from lingos_kernel.processes.job_store import RETENTION_S, JobStore
from lingos_kernel.processes.jobs import JobRecord, JobRequest, verdict
from lingos_kernel.security.principal import Principal

ANN = Principal("ann", "a", frozenset({"llm.*"}), within=(frozenset({"*"}),))


class Clock:
    """Unix time that passes when told."""

    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        """The time."""
        return self.now


async def test_a_record_is_what_was_submitted(tmp_path: Path) -> None:
    """Everything about a request is read back as it was, by another store on the same file."""
    request = JobRequest(ANN, "llm.chat", {"messages": [{"role": "user"}]}, "q", 3, delay_s=5.0)
    store = JobStore(tmp_path / "jobs.db", clock=Clock())
    added, is_new = await store.add(request)
    assert is_new
    await store.close()
    again = JobStore(tmp_path / "jobs.db", clock=Clock())
    record = await again.get(added.number)
    assert record == added
    assert record is not None
    assert record.request == request
    assert record.due_s == 1005.0
    assert await again.queues() == ["q"]
    await again.close()


async def test_old_ends_are_forgotten(tmp_path: Path) -> None:
    """A week after its end a job and its key are gone; one that has not ended stays."""
    clock = Clock()
    store = JobStore(tmp_path / "jobs.db", clock=clock)
    ended, _ = await store.add(JobRequest(ANN, "x", {}, idempotency_key="k"))
    live, _ = await store.add(JobRequest(ANN, "x", {}))
    await store.cancel(ended.number)
    clock.now += RETENTION_S + 1
    await store.recover()
    assert await store.get(ended.number) is None
    assert await store.get(live.number) is not None
    again, is_new = await store.add(JobRequest(ANN, "x", {}, idempotency_key="k"))
    assert is_new
    assert again.number > live.number
    await store.close()


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (Busy("full"), "retry"),
        (CallTimeout("late"), "retry"),
        (EngineDied("gone"), "retry"),
        (SyscallFailed("bug"), "retry"),
        (UsageError("wrong"), "failed"),
        (NotPermitted("no"), "failed"),
        (Cancelled("stop"), "cancelled"),
    ],
)
def test_what_becomes_of_a_failed_attempt(error: LingOSError, expected: str) -> None:
    """What may pass is tried again while there are attempts; what would come again is not."""
    request = JobRequest(ANN, "x", {}, max_attempts=2)

    def after(attempts: int) -> JobRecord:
        times: Any = (0.0, 0.0, 0.0, None)
        return JobRecord(1, 0, request, "running", attempts, "t", False, *times, b"", b"")

    assert verdict(error, after(1)) == expected
    assert verdict(error, after(2)) == ("failed" if expected == "retry" else expected)


@dataclass
class Model:
    """A job as one would keep it in memory."""

    max_attempts: int
    state: str = "waiting"
    attempts: int = 0
    round: int = 0
    token: str = ""
    result: Any = None
    ends: int = 0


NUMBERS = st.integers(1, 4)
TOKENS = st.sampled_from(["a", "b", "c"])


class Lives(RuleBasedStateMachine):
    """Random lives of jobs, with claims that were lost and kernels that died."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.runner = asyncio.Runner()
        self.store = self.runner.run(self.open())
        self.models: dict[int, Model] = {}

    async def open(self) -> JobStore:
        """The store on its file."""
        return JobStore(Path(self.folder.name) / "jobs.db")

    def do(self, work: Any) -> Any:
        """Run an operation of the store."""
        return self.runner.run(work)

    def teardown(self) -> None:
        """Leave nothing."""
        self.do(self.store.close())
        self.runner.close()
        self.folder.cleanup()

    @rule(max_attempts=st.integers(1, 3))
    def add(self, max_attempts: int) -> None:
        """Accept a job."""
        record, is_new = self.do(
            self.store.add(JobRequest(ANN, "x", {}, max_attempts=max_attempts))
        )
        assert is_new
        self.models[record.number] = Model(max_attempts)

    @rule(number=NUMBERS, round_=st.integers(0, 1), token=TOKENS)
    def begin(self, number: int, round_: int, token: str) -> None:
        """Claim a job, perhaps one that another worker still runs."""
        what, _ = self.do(self.store.begin(number, round_, token))
        model = self.models.get(number)
        has_ended = model is None or model.state in ("done", "failed", "cancelled")
        if model is None or has_ended or model.round != round_:
            assert what == "nothing"
        elif model.attempts >= model.max_attempts:
            assert what == "exhausted"
            model.state, model.token, model.ends = "failed", "", model.ends + 1
        else:
            assert what == "run"
            model.state, model.token, model.attempts = "running", token, model.attempts + 1

    def held(self, number: int, token: str) -> Model | None:
        """The model of a job that the claim still holds."""
        model = self.models.get(number)
        return model if model and model.token == token else None

    @rule(number=NUMBERS, token=TOKENS, value=st.integers())
    def succeed(self, number: int, token: str, value: int) -> None:
        """Record a result; without the claim nothing happens."""
        model = self.held(number, token)
        assert self.do(self.store.succeed(number, token, value)) == (model is not None)
        if model:
            model.state, model.token, model.result = "done", "", value
            model.ends += 1

    @rule(number=NUMBERS, token=TOKENS, how=st.sampled_from(["fail", "retry", "release"]))
    def leave(self, number: int, token: str, how: str) -> None:
        """End an attempt without a result."""
        model, error = self.held(number, token), LingOSError("no")
        if how == "fail":
            done = self.do(self.store.fail(number, token, "failed", error))
        elif how == "retry":
            done = self.do(self.store.retry(number, token, error))
        else:
            done = self.do(self.store.release(number, token))
        assert done == (model is not None)
        if model:
            model.token = ""
            model.state = "failed" if how == "fail" else "waiting"
            model.ends += how == "fail"
            model.attempts -= how == "release"

    @rule(number=NUMBERS)
    def cancel(self, number: int) -> None:
        """Call a job off."""
        model = self.models.get(number)
        is_live = model is not None and model.state in ("waiting", "running")
        assert self.do(self.store.cancel(number)) == is_live
        if model and is_live:
            model.state, model.token, model.ends = "cancelled", "", model.ends + 1

    @rule(number=NUMBERS)
    def restart(self, number: int) -> None:
        """Start a job over."""
        model = self.models.get(number)
        may = model is not None and model.state in ("failed", "cancelled")
        assert (self.do(self.store.restart(number)) is not None) == may
        if model and may:
            model.state, model.attempts, model.round = "waiting", 0, model.round + 1

    @rule()
    def die(self) -> None:
        """The kernel dies, the next one takes over."""
        self.do(self.store.close())
        self.store = self.do(self.open())
        self.do(self.store.recover())
        for model in self.models.values():
            if model.state == "running":
                model.state, model.token = "waiting", ""

    @invariant()
    def records_are_as_the_model_says(self) -> None:
        """State, attempts and result agree; each round ended at most once."""
        for number, model in self.models.items():
            record = self.do(self.store.get(number))
            assert (record.state, record.attempts) == (model.state, model.attempts)
            assert (record.round, record.token) == (model.round, model.token)
            assert record.has_ended == (record.ended_s is not None)
            assert (record.result != b"") == (model.state == "done")
            assert model.ends <= model.round + 1


TestLives = Lives.TestCase
TestLives.settings = settings(max_examples=20, stateful_step_count=30, deadline=None)
