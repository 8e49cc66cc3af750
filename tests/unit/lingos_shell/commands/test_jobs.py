"""`lingos job`."""

from __future__ import annotations

import json
from typing import Any

import pytest

JOB = {
    "job_id": "17",
    "syscall": "text.summarize",
    "state": "failed",
    "stopped": False,
    "attempts": 2,
    "max_attempts": 5,
    "submitted_s": 0.0,
    "error": {"message": "broken"},
}


@pytest.fixture
def kernel(kernel: Any, syscall_info: Any) -> Any:
    """The stand-in with a syscall and a job."""
    schema = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}
    kernel.infos += [syscall_info("a.b", schema), syscall_info("a.risky", confirm=True)]
    kernel.answers |= {
        "job.submit": lambda **_: {"job_id": "17", "state": "waiting"},
        "job.list": lambda **_: [JOB, {**JOB, "error": None, "stopped": True}],
        "job.show": lambda **_: JOB,
        "job.result": lambda job_id, **_: {"text": "short"} if job_id == "17" else [1, 2],
        "job.cancel": lambda job_id: {"job_id": job_id, "cancelled": job_id == "17"},
        "job.retry": lambda **_: {**JOB, "state": "waiting"},
    }
    return kernel


def test_submit_types_the_arguments(lingos: Any, kernel: Any) -> None:
    """The words belong to the syscall; the job's id is written."""
    assert lingos("job", "submit", "--queue", "q", "a.b", "--n", "3", "--key", "k").stdout == "17\n"
    _, given = kernel.calls[-1]
    assert (given["syscall"], given["arguments"], given["queue"]) == ("a.b", {"n": 3}, "q")
    assert given["idempotency_key"] == "k"
    assert lingos("job", "submit", "a.b", "--n", "x").exit_code == 2
    assert lingos("job", "submit", "a.x").exit_code == 2


def test_submit_asks_for_a_yes(lingos: Any, kernel: Any) -> None:
    """A syscall that wants a person's yes gets it here, or is refused."""
    assert lingos("job", "submit", "a.risky").exit_code == 1
    assert lingos("job", "submit", "a.risky", "--yes").exit_code == 0
    assert {"confirmed": True} in kernel.options


def test_jobs_are_listed(lingos: Any) -> None:
    """One line each, with state, tries and error."""
    header, first, second = lingos("job", "list", "--state", "failed").stdout.splitlines()
    assert header.split() == ["JOB", "STATE", "TRIES", "AGE", "SYSCALL", "ERROR"]
    assert first.split()[:3] == ["17", "failed", "2/5"]
    assert first.endswith("broken")
    assert second.split()[1] == "stopped"
    assert json.loads(lingos("job", "list", "--json").stdout)[0] == JOB
    assert json.loads(lingos("job", "show", "17").stdout) == JOB


def test_results_are_written(lingos: Any, kernel: Any) -> None:
    """An answer as its text, everything else as JSON."""
    assert lingos("job", "result", "17", "--timeout", "5").stdout == "short\n"
    assert kernel.calls[-1] == ("job.result", {"job_id": "17", "wait_s": 5.0})
    assert json.loads(lingos("job", "result", "18").stdout) == [1, 2]
    assert json.loads(lingos("job", "result", "17", "--json").stdout) == {"text": "short"}


def test_cancel_and_retry(lingos: Any) -> None:
    """Both say what became of the job."""
    assert lingos("job", "cancel", "17").stdout == "job 17 was cancelled\n"
    assert lingos("job", "cancel", "18").stdout == "job 18 had ended before\n"
    assert json.loads(lingos("job", "cancel", "17", "--json").stdout)["cancelled"]
    assert lingos("job", "retry", "17").stdout == "job 17 is waiting\n"
    assert json.loads(lingos("job", "retry", "17", "--json").stdout)["state"] == "waiting"
