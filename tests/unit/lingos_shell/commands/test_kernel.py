"""`lingos kernel`, without starting one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lingos_kernel.server.daemon import KernelStatus
from lingos_shell.commands.kernel import added_text, last_lines, status_text


def test_no_kernel_is_exit_code_three(lingos: Any) -> None:
    """Scripts can ask whether one runs."""
    outcome = lingos("kernel", "status")
    assert outcome.exit_code == 3
    assert "no kernel is running" in outcome.stderr


def test_stopping_none_is_no_error(lingos: Any) -> None:
    """What was asked for is so already."""
    assert lingos("kernel", "stop").stdout == "no kernel was running\n"
    assert lingos("kernel", "stop", "--json").stdout == '{\n  "stopped": false\n}\n'


def test_a_log_that_is_not_there_is_told(lingos: Any) -> None:
    """Nothing on stdout, a word on stderr."""
    outcome = lingos("kernel", "logs")
    assert (outcome.exit_code, outcome.stdout) == (0, "")
    assert "there is no log" in outcome.stderr


def test_the_status_is_told_in_three_lines() -> None:
    """Who, since when, and where socket and log are."""
    status = KernelStatus("running", Path("/s"), Path("/l"), 12, "0.1.0", 100.0)
    assert status_text(status, now_s=160.0) == (
        "running, process 12, version 0.1.0, up 1 m 00 s\nsocket /s\nlog    /l"
    )


def test_last_lines(tmp_path: Path) -> None:
    """As tail(1)."""
    log = tmp_path / "log"
    assert last_lines(log, 2) == []
    log.write_text("a\nb\nc\n")
    assert last_lines(log, 2) == ["b\n", "c\n"]


def test_following_a_log_through_a_rotation(tmp_path: Path) -> None:
    """Text is shown as it comes, also from the file that replaces the first one."""
    log = tmp_path / "log"
    log.write_text("old\n")
    text = added_text(log)
    writer = log.open("a")
    # The generator takes its place at the end of the file when it is first asked, so ask twice.
    with writer:
        first_ask = _ask_while(text, lambda: print("new", file=writer, flush=True))
    assert first_ask == "new\n"
    log.rename(tmp_path / "log.1")
    log.write_text("newer\n")
    assert next(text) == "newer\n"


def _ask_while(text: Any, act: Any) -> str:
    """The next text, `act` being done once the asking has begun."""
    import threading

    started = threading.Timer(0.05, act)
    started.start()
    try:
        return str(next(text))
    finally:
        started.join()
