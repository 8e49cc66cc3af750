"""The lines of a trace: bounded, counted, cut."""

from __future__ import annotations

from typing import Any

import pytest

from lingos_kernel.errors import Busy, to_wire
from lingos_kernel.security.principal import owner
from lingos_kernel.syscalls.call import Call
from lingos_kernel.syscalls.events import Failure, Result
from lingos_kernel.syscalls.trace import Trace, process_of


def ended_call(outcome: Result | Failure, parent: Call | None = None, **arguments: Any) -> Call:
    """A call that has run for a second after waiting for two."""
    call = Call(
        "c1", "llm.chat", owner("me"), parent=parent, queued_s=1.0, confirmed=False,
        cancel=lambda call, reason: None,
    )  # fmt: skip
    call.pid, call.arguments = (0 if parent else 7), arguments
    call.started_s, call.ended_s = 3.0, 4.0
    call.end(outcome, None)
    return call


async def read(trace: Trace) -> list[dict[str, Any]]:
    """All lines of a trace that has ended."""
    trace.close()
    return [line async for line in trace.lines()]


async def test_lines_tell_arguments_size_and_times() -> None:
    """Values are JSON, cut when they are long; the end has the size of the result."""
    trace = Trace(lambda _: True, shows_values=True, bound=10)
    call = ended_call(Result([1, 2, 3]), text="x" * 500, n=1, odd=object())
    trace.begun(call)
    trace.ended(call)
    begin, end = await read(trace)
    assert begin["arguments"]["n"] == "1"
    assert begin["arguments"]["text"].endswith("… (502 characters)")
    assert len(begin["arguments"]["text"]) < 230
    assert "is not JSON" in begin["arguments"]["odd"]
    assert (end["result_bytes"], end["queued_s"], end["run_s"]) == (7, 2.0, 1.0)
    assert (end["outcome"], end["depth"], end["pid"]) == ("ok", 0, 7)


async def test_names_alone() -> None:
    """Without values neither arguments nor messages of errors are shown."""
    trace = Trace(lambda _: True, shows_values=False, bound=10)
    call = ended_call(Failure(to_wire(Busy("secret"))), text="secret")
    trace.begun(call)
    trace.ended(call)
    begin, end = await read(trace)
    assert begin["arguments"] == ["text"]
    assert (end["outcome"], end["message"]) == ("busy", "")


@pytest.mark.parametrize("count", [0, 1, 3, 4, 9])
async def test_the_oldest_lines_are_dropped_and_counted(count: int) -> None:
    """Whatever happens, the lines and the dropped ones add up."""
    trace = Trace(lambda _: True, shows_values=True, bound=3)
    for number in range(count):
        trace.begun(ended_call(Result(None), n=number))
    lines = await read(trace)
    dropped = max(count - 3, 0)
    assert [line["count"] for line in lines if line["event"] == "dropped"] == [dropped][:dropped]
    kept = [line["arguments"]["n"] for line in lines if line["event"] == "begin"]
    assert kept == [str(number) for number in range(dropped, count)]


async def test_others_are_left_out() -> None:
    """A refused nested call counts as its caller's."""
    mine = ended_call(Result(None))
    nested = ended_call(Result(None), parent=mine)
    assert process_of(nested) == 7
    trace = Trace(lambda call: call is nested, shows_values=True, bound=3)
    for call in (mine, nested):
        trace.begun(call)
        trace.ended(call)
    assert [line["depth"] for line in await read(trace)] == [1, 1]
