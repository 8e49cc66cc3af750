"""Every error of LingOS, in one tree.

    LingOSError
    ├── UsageError                      the call is wrong; change it            (exit 2)
    │   ├── InvalidArguments            an argument has the wrong type or value
    │   │   ├── EmptyPrompt             nothing to answer
    │   │   ├── PromptTooLong           more tokens than the model's context
    │   │   ├── DamagedFile             a file that is not what it should be
    │   │   └── InvalidGrammar          a schema, regex or grammar that nothing can meet
    │   ├── UnknownName                 no such thing
    │   │   ├── UnknownSyscall
    │   │   ├── UnknownModel
    │   │   ├── UnknownProcess
    │   │   ├── UnknownLock
    │   │   ├── UnknownJob
    │   │   └── UnknownContext
    │   ├── InvalidScript               a line of the shell's language cannot be read
    │   └── ConfigError                 a setting has the wrong type or value
    ├── Refused                         the caller may not do this              (exit 1)
    │   ├── NotAuthenticated
    │   ├── NotPermitted
    │   ├── QuotaExceeded
    │   └── ConfirmationRequired
    ├── Busy                            not now; later, or less, may work       (exit 1)
    │   ├── QueueFull                   says when to try again
    │   ├── OutOfMemory                 shows the sums
    │   ├── Deadlock                    prints the cycle
    │   └── ModelInUse
    ├── CallTimeout                     a time limit ended the call             (exit 4)
    ├── Cancelled                       somebody ended the call                 (exit 130)
    ├── KernelUnavailable               no kernel answers                       (exit 3)
    ├── ModelError                      a model cannot be had or read           (exit 1)
    │   ├── DownloadFailed
    │   ├── DiskFull
    │   ├── DigestMismatch
    │   ├── CorruptModel
    │   └── UnsupportedModel
    ├── EngineError                     the engine failed                       (exit 1)
    │   └── EngineDied                  and could not be brought back
    ├── SyscallFailed                   the syscall's own code raised           (exit 1)
    ├── CommandFailed                   a command of the host's shell failed    (exit 1)
    └── PluginError                     a plugin broke its contract             (exit 1)
        ├── NameCollision
        └── PluginFailed

Each message says what happened and to what; `hint` says what to do. `code` is the stable name
that travels over the wire, and the HTTP status and exit code follow from the class.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar


class LingOSError(Exception):
    """Base of all errors that LingOS raises on purpose."""

    code: ClassVar[str] = "error"
    exit_code: ClassVar[int] = 1
    http_status: ClassVar[int] = 500

    def __init__(self, message: str, *, hint: str = "", **details: Any) -> None:
        """`details` are JSON-able facts about the object at fault."""
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.details = details

    def __str__(self) -> str:
        return f"{self.message} ({self.hint})" if self.hint else self.message

    def __reduce__(self) -> tuple[Any, ...]:
        return (from_wire, (to_wire(self),))


class UsageError(LingOSError):
    """Raised when the call itself is wrong and would fail again unchanged."""

    code, exit_code, http_status = "usage", 2, 400


class InvalidArguments(UsageError):
    """Raised when an argument has the wrong type or value."""

    code, http_status = "invalid_arguments", 422


class EmptyPrompt(InvalidArguments):
    """Raised when there is nothing to answer."""

    code = "empty_prompt"


class PromptTooLong(InvalidArguments):
    """Raised when a prompt has more tokens than the model's context."""

    code = "prompt_too_long"


class InvalidGrammar(InvalidArguments):
    """Raised when a JSON schema, regex or grammar cannot be read or met."""

    code = "invalid_grammar"


class DamagedFile(InvalidArguments):
    """Raised when a file is not of the kind that is wanted, or not as it was written."""

    code = "damaged_file"


class UnknownName(UsageError):
    """Raised when something is named that does not exist."""

    code, http_status = "unknown_name", 404


class UnknownSyscall(UnknownName):
    """Raised when no syscall has the name."""

    code = "unknown_syscall"


class UnknownModel(UnknownName):
    """Raised when no model has the name and none can be pulled under it."""

    code = "unknown_model"


class UnknownProcess(UnknownName):
    """Raised when no process has the pid."""

    code = "unknown_process"


class UnknownLock(UnknownName):
    """Raised when no lock, semaphore or barrier has the name."""

    code = "unknown_lock"


class UnknownJob(UnknownName):
    """Raised when no durable job has the id."""

    code = "unknown_job"


class UnknownContext(UnknownName):
    """Raised when no conversation has the name."""

    code = "unknown_context"


class InvalidScript(UsageError):
    """Raised when a line of the shell's language cannot be read; points at the column."""

    code = "invalid_script"


class ConfigError(UsageError):
    """Raised when a setting has the wrong type or value."""

    code = "config"


class Refused(LingOSError):
    """Raised when the caller may not do what was asked."""

    code, http_status = "refused", 403


class NotAuthenticated(Refused):
    """Raised when it is not known who calls."""

    code, http_status = "not_authenticated", 401


class NotPermitted(Refused):
    """Raised when the caller lacks the capability."""

    code = "not_permitted"


class QuotaExceeded(Refused):
    """Raised when a limit of the process or principal is used up."""

    code, http_status = "quota_exceeded", 429


class ConfirmationRequired(Refused):
    """Raised when a syscall wants a person's yes and did not get it."""

    code, http_status = "confirmation_required", 409


class Busy(LingOSError):
    """Raised when the same call may work later, or with less."""

    code, http_status = "busy", 503


class QueueFull(Busy):
    """Raised when a queue's bound is reached; `retry_after_s` says when to try again."""

    code, http_status = "queue_full", 429

    def __init__(self, message: str, *, retry_after_s: float, hint: str = "", **details: Any):
        super().__init__(
            message,
            hint=hint or f"try again in {retry_after_s:.1f} s",
            retry_after_s=retry_after_s,
            **details,
        )

    @property
    def retry_after_s(self) -> float:
        """Seconds after which a slot is expected to be free."""
        return float(self.details["retry_after_s"])


class OutOfMemory(Busy):
    """Raised when a request cannot fit into the memory budget; the message shows the sums."""

    code = "out_of_memory"


class Deadlock(Busy):
    """Raised in the youngest waiter of a cycle of locks; the message prints the cycle."""

    code, http_status = "deadlock", 409


class ModelInUse(Busy):
    """Raised when a model cannot be unloaded or removed because something uses it."""

    code, http_status = "model_in_use", 409


class CallTimeout(LingOSError):
    """Raised when a call's time limit ended it."""

    code, exit_code, http_status = "timeout", 4, 504


class Cancelled(LingOSError):
    """Raised when somebody ended the call before it was done."""

    code, exit_code, http_status = "cancelled", 130, 499


class KernelUnavailable(LingOSError):
    """Raised when no kernel answers and none could be started."""

    code, exit_code, http_status = "kernel_unavailable", 3, 503


class ModelError(LingOSError):
    """Raised when a model cannot be had or read."""

    code = "model"


class DownloadFailed(ModelError):
    """Raised when a model's files could not be fetched."""

    code, http_status = "download_failed", 502


class DiskFull(ModelError):
    """Raised when there is no room for a model's files; says how much is missing."""

    code, http_status = "disk_full", 507


class DigestMismatch(ModelError):
    """Raised when a file's SHA-256 is not the pinned one."""

    code = "digest_mismatch"


class CorruptModel(ModelError):
    """Raised when a model's files are truncated or unreadable."""

    code = "corrupt_model"


class UnsupportedModel(ModelError):
    """Raised when the engine cannot run this architecture or file."""

    code, http_status = "unsupported_model", 422


class EngineError(LingOSError):
    """Raised when the engine failed while serving a request."""

    code = "engine"


class EngineDied(EngineError):
    """Raised when the engine process died and could not be brought back."""

    code, http_status = "engine_died", 503


class SyscallFailed(LingOSError):
    """Raised when a syscall's own code raised; the original message is kept."""

    code = "syscall_failed"


class CommandFailed(LingOSError):
    """Raised when a command of the host's shell ended with another exit code than 0."""

    code = "command_failed"


class PluginError(LingOSError):
    """Raised when a plugin broke its contract; names the plugin."""

    code = "plugin"


class NameCollision(PluginError):
    """Raised when two owners register the same name; names both."""

    code = "name_collision"


class PluginFailed(PluginError):
    """Raised when a plugin could not be imported or one of its hooks raised."""

    code = "plugin_failed"


def _tree(root: type[LingOSError]) -> dict[str, type[LingOSError]]:
    by_code = {root.code: root}
    for child in root.__subclasses__():
        by_code.update(_tree(child))
    return by_code


def to_wire(error: BaseException) -> dict[str, Any]:
    """The JSON-able form of an error; `from_wire` is its inverse within the tree."""
    if isinstance(error, LingOSError):
        return {
            "code": error.code,
            "message": error.message,
            "hint": error.hint,
            "details": error.details,
        }
    return {
        "code": SyscallFailed.code,
        "message": f"{type(error).__name__}: {error}",
        "hint": "",
        "details": {},
    }


def from_wire(data: Mapping[str, Any]) -> LingOSError:
    """The error that `to_wire` described, of the same class where its code is known."""
    kind = _tree(LingOSError).get(str(data.get("code", "")), LingOSError)
    error = kind.__new__(kind)
    LingOSError.__init__(
        error,
        str(data.get("message", "unknown error")),
        hint=str(data.get("hint", "")),
        **dict(data.get("details") or {}),
    )
    return error
