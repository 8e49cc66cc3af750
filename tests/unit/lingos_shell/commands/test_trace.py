"""`lingos trace` and `lingos wait`."""

from __future__ import annotations

import json
from typing import Any

import pytest

from lingos_kernel.errors import CallTimeout
from lingos_kernel.syscalls.events import Item, Result

BEGIN = {
    "event": "begin",
    "pid": 7,
    "depth": 1,
    "syscall": "llm.chat",
    "arguments": {"model": '"tiny"', "n": "1"},
}
END = {
    "event": "end",
    "pid": 7,
    "depth": 0,
    "syscall": "llm.chat",
    "outcome": "ok",
    "message": "",
    "result_bytes": 2048,
    "queued_s": 0.5,
    "run_s": 1.25,
}


@pytest.fixture
def kernel(kernel: Any) -> Any:
    """The stand-in with a traced process."""
    failed = {**END, "outcome": "busy", "message": "full", "queued_s": 0.0}
    lines = [BEGIN, {**BEGIN, "arguments": ["model"], "depth": 0}, END, failed]
    lines.append({"event": "dropped", "count": 3})
    kernel.answers |= {
        "proc.trace": lambda **_: [*(Item(line) for line in lines), Result(lines)],
        "proc.wait": lambda **_: {"pid": 7, "ended_why": "closed"},
    }
    return kernel


def test_lines_are_written_as_they_come(lingos: Any, kernel: Any) -> None:
    """Begin and end of each call, with arguments, outcome, size and times."""
    assert lingos("trace", "7", "-f", "-n", "5").stdout.splitlines() == [
        '7   llm.chat(model="tiny", n=1)',
        "7 llm.chat(model=?)",
        "7 llm.chat = ok 2.0 KiB <1.2 s, waited 500 ms>",
        "7 llm.chat = busy full <1.2 s>",
        "... 3 lines were dropped",
    ]
    assert kernel.calls == [("proc.trace", {"pid": 7, "follow": True, "limit": 5})]
    lines = lingos("trace", "7", "--json").stdout.splitlines()
    assert [json.loads(line)["event"] for line in lines] == ["begin"] * 2 + ["end"] * 2 + [
        "dropped"
    ]


def test_wait(lingos: Any, kernel: Any) -> None:
    """Says why the process ended; a time limit has its exit code."""
    assert lingos("wait", "7").stdout == "process 7 has ended (closed)\n"
    assert json.loads(lingos("wait", "7", "--json").stdout)["pid"] == 7

    def late(**_: Any) -> Any:
        raise CallTimeout("still there")

    kernel.answers["proc.wait"] = late
    assert lingos("wait", "7", "--timeout", "1").exit_code == 4
