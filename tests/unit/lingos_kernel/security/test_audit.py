"""The audit log: nothing lost, nothing changed unseen, and no call harmed by a bad disk."""

from __future__ import annotations

import errno
import json
import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lingos_kernel.security import audit
from lingos_kernel.security.audit import AuditLog
from lingos_kernel.security.audit_chain import (
    GENESIS,
    AuditRecord,
    Verification,
    seal,
    set_aside,
    verify,
)


def record(number: int = 0, **facts: Any) -> AuditRecord:
    """A record of some call."""
    given = {
        "time_s": 1.5,
        "principal": "ann",
        "tenant": "",
        "caller": "human",
        "pid": 2,
        "call_id": f"c-{number}",
        "parent_id": "",
        "syscall": "llm.chat",
        "outcome": "ok",
        "run_s": 0.25,
        "arguments": ("messages",),
    }
    return AuditRecord(**{**given, **facts})


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the log goes."""
    return tmp_path / "state/audit.jsonl"


@pytest.fixture
def open_log(path: Path) -> Iterator[Callable[[], AuditLog]]:
    """Starts logs on the path; they are stopped after the test."""
    logs: list[AuditLog] = []

    def start() -> AuditLog:
        logs.append(AuditLog(path, clock=lambda: 9.0))
        logs[-1].start()
        return logs[-1]

    yield start
    for log in logs:
        log.stop()


def test_records_are_chained(path: Path, open_log: Callable[[], AuditLog]) -> None:
    """Every record is a line, in order, readable by its owner alone, and the chain holds."""
    log = open_log()
    for number in range(2500):
        log.append(record(number))
    assert log.flush()
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert [line["call_id"] for line in lines] == [f"c-{n}" for n in range(2500)]
    assert lines[0]["arguments"] == ["messages"]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    found = verify(path)
    assert (found.intact, found.records, found.head) == (True, 2500, log.head)
    assert log.stats() == audit.AuditStats(2500, 0, 0, "")


def test_the_chain_goes_on_after_a_restart(path: Path, open_log: Callable[[], AuditLog]) -> None:
    """A second log takes up the chain where the first one ended; stop writes what is pending."""
    for number in range(3):
        log = open_log()
        log.append(record(number))
        log.stop()
    assert verify(path).records == 3
    assert verify(path).intact


def test_empty_log(path: Path, open_log: Callable[[], AuditLog]) -> None:
    """A log without records is intact, and its head is the genesis."""
    path.parent.mkdir()
    path.touch()
    assert verify(path) == Verification(True, 0, GENESIS, 0)
    open_log().stop()


def test_torn_line_becomes_a_gap(path: Path, open_log: Callable[[], AuditLog]) -> None:
    """A line cut off by a crash is cut away, and the log says how much was lost."""
    log = open_log()
    log.append(record(1))
    log.stop()
    with path.open("ab") as file:
        file.write(b'{"time_s":1,"princ')
    assert verify(path).reason == "the line is cut off"
    log = open_log()
    log.append(record(2))
    log.stop()
    assert verify(path).intact
    assert json.loads(path.read_text().splitlines()[1])["lost_bytes"] == 18


@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_any_change_shows(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    """Changing any byte, dropping, doubling or swapping lines breaks the chain there."""
    path = tmp_path_factory.mktemp("audit") / "log"
    lines, head = [], GENESIS
    for number in range(5):
        line, head = seal(record(number), head)
        lines.append(line)
    n = data.draw(st.integers(0, 3))
    how = data.draw(st.sampled_from(["byte", "drop", "double", "swap"]))
    if how == "byte":
        at = data.draw(st.integers(0, len(lines[n]) - 2))
        new = data.draw(st.integers(32, 126).filter(lambda b: b != lines[n][at]))
        lines[n] = lines[n][:at] + bytes([new]) + lines[n][at + 1 :]
    elif how == "drop":
        del lines[n]
    elif how == "double":
        lines.insert(n, lines[n])
    else:
        lines[n], lines[n + 1] = lines[n + 1], lines[n]
    path.write_bytes(b"".join(lines))
    found = verify(path)
    assert not found.intact
    assert found.bad_line is not None
    assert n + 1 <= found.bad_line <= n + 2


def test_full_disk(
    path: Path, open_log: Callable[[], AuditLog], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A full disk harms no call: half a line is taken back, records wait, losses are counted."""
    write, full = os.write, [True]

    def fill(file: int, data: bytes) -> int:
        if full[0]:
            if len(data) > 20:
                return write(file, bytes(data[:20]))
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(file, data)

    monkeypatch.setattr(os, "write", fill)
    monkeypatch.setattr(audit, "MAX_PENDING", 10)
    log = open_log()
    for number in range(25):
        log.append(record(number))
    assert not log.flush()
    assert log.flush() is False
    stats = log.stats()
    assert "No space left" in stats.error
    assert path.read_bytes() == b""
    full[0] = False
    assert log.flush() or log.flush()
    log.stop()
    found = verify(path)
    assert found.intact
    assert found.records + found.lost_records == 25
    assert found.lost_records == log.stats().lost >= 15
    assert log.stats().error == ""


def write_many(path: Path, count: int, *, files_kept: int = 100) -> AuditLog:
    """A log in files of a few records each, written in several lives."""
    for number in range(count):
        log = AuditLog(path, file_bytes=1000, files_kept=files_kept, clock=lambda: 9.0)
        log.start()
        log.append(record(number))
        log.stop()
    return log


def test_full_files_are_set_aside_and_the_chain_goes_on(path: Path) -> None:
    """The chain is followed over all files, each of which stays small."""
    log = write_many(path, 20)
    files = [*set_aside(path).values(), path]
    assert len(files) > 3
    assert all(file.stat().st_size < 2000 for file in files)
    found = verify(path)
    assert (found.intact, found.is_complete, found.records) == (True, True, 20)
    assert found.head == log.head
    assert stat.S_IMODE(files[0].stat().st_mode) == 0o600


def test_a_rotation_in_one_life_needs_no_restart(path: Path) -> None:
    """Files are set aside while records come, also when the log was cut short in between."""
    log = AuditLog(path, file_bytes=500, clock=lambda: 9.0)
    log.start()
    for number in range(10):
        log.append(record(number))
        assert log.flush()
    log.stop()
    path.rename(path.with_name("audit.99.jsonl"))  # died between setting it aside and the next one
    assert write_many(path, 1).head == verify(path).head
    assert verify(path).records == 11


@pytest.mark.parametrize("how", ["changed", "missing", "swapped"])
def test_a_change_in_an_earlier_file_shows(path: Path, how: str) -> None:
    """The file is named in which, or after which, something is wrong."""
    write_many(path, 20)
    first, second, third = list(set_aside(path).values())[:3]
    if how == "changed":
        second.write_bytes(second.read_bytes().replace(b'"ok"', b'"no"', 1))
    elif how == "missing":
        second.unlink()
    else:
        one, two = first.read_bytes(), second.read_bytes()
        first.write_bytes(two)
        second.write_bytes(one)
    found = verify(path)
    assert not found.intact
    assert found.bad_file == (third.name if how == "missing" else second.name)


def test_the_oldest_files_are_removed(path: Path) -> None:
    """Only so many are kept; what is left is intact, and told not to be all."""
    write_many(path, 30, files_kept=2)
    assert len(set_aside(path)) == 2
    found = verify(path)
    assert found.intact
    assert not found.is_complete
    assert 0 < found.records < 30


def test_folder_that_cannot_be_made(tmp_path: Path) -> None:
    """A log that can never be opened keeps quiet records and an error, and stops at once."""
    (tmp_path / "file").touch()
    log = AuditLog(tmp_path / "file/audit.jsonl", clock=lambda: 0.0)
    log.start()
    log.append(record())
    assert not log.flush()
    assert log.stats().error
    log.stop()
