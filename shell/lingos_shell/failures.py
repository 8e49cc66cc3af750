"""How a command that fails says so: one line, a hint, and an exit code."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import click

from lingos_kernel.errors import LingOSError, UsageError, to_wire
from lingos_shell.output import OutputClosed, narrate

EXIT_OK = 0
EXIT_FAILED = 1
EXIT_INTERRUPTED = 130


@dataclass(frozen=True, slots=True)
class Ending:
    """How the program leaves: its exit code and, unless it is silent, the error to show."""

    exit_code: int
    error: LingOSError | None = None


def ending_of(error: BaseException) -> Ending:
    """Decide how an exception ends the program; unknown ones are faults of LingOS itself."""
    match error:
        case click.exceptions.Exit():
            return Ending(error.exit_code)
        case OutputClosed():
            return Ending(EXIT_OK)
        case KeyboardInterrupt() | click.Abort():
            return Ending(EXIT_INTERRUPTED)
        case click.ClickException():
            usage = _from_click(error)
            return Ending(usage.exit_code, usage)
        case LingOSError():
            return Ending(error.exit_code, error)
        case _:
            return Ending(EXIT_FAILED, _internal(error))


def report(ending: Ending, *, as_json: bool, cause: BaseException | None = None) -> None:
    """Tell the person (or, as JSON, the program) on stderr what went wrong.

    `cause` is shown with its traceback.
    """
    if ending.error is None:
        return
    if cause is not None:
        import traceback

        narrate("".join(traceback.format_exception(cause)).rstrip())
    if as_json:
        import json

        narrate(json.dumps(error_document(ending.error), ensure_ascii=False, default=str))
        return
    narrate(f"lingos: error: {ending.error.message}")
    if ending.error.hint:
        narrate(f"hint: {ending.error.hint}")


def error_document(error: LingOSError) -> dict[str, Any]:
    """The error object of `--json`."""
    return {"error": {**to_wire(error), "exit_code": error.exit_code}}


def _from_click(error: click.ClickException) -> LingOSError:
    message = error.format_message().rstrip(".")
    context = error.ctx if isinstance(error, click.UsageError) else None
    command = context.command_path if context else "lingos"
    usage = UsageError(message[:1].lower() + message[1:], hint=f"see `{command} --help`")
    if isinstance(error, click.NoSuchOption) and error.possibilities:
        usage.hint = f"did you mean {' or '.join(sorted(error.possibilities))}?"
        usage.message = f"no such option: {error.option_name}"
    return usage


def _internal(error: BaseException) -> LingOSError:
    return LingOSError(
        f"internal error: {type(error).__name__}: {error}",
        hint="this is a fault in LingOS; run again with -v for the traceback and report it",
    )
