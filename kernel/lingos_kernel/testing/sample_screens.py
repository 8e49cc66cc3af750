"""What a busy kernel tells of plugins, syscalls, calls and its log, for pictures."""

from __future__ import annotations

from typing import Any

from lingos_kernel.syscalls.spec import SyscallInfo

BEGIN_S = 1_767_348_000.0


def _plugin(name: str, **facts: Any) -> dict[str, Any]:
    base: dict[str, Any] = {
        "name": name, "distribution": "built in", "version": "", "module": f"lingos_kernel.{name}",
        "state": "loaded", "import_s": 0.0, "slow": False, "error": "", "provides": {},
        "built_in": True, "enabled": True, "hooks": [], "hook_calls": 0, "hook_s": 0.0,
        "hook_errors": 0,
    }  # fmt: skip
    return base | facts


def _names(prefix: str, words: str) -> dict[str, tuple[str, ...]]:
    return {"syscalls": tuple(f"{prefix}.{word}" for word in words.split())}


PLUGINS = [
    _plugin("llm", provides=_names("llm", "chat classify complete detokenize embed score")),
    _plugin("model", provides=_names("model", "list load pull remove show tag unload verify")),
    _plugin("proc", provides=_names("proc", "close kill limit list nice open show trace wait")),
    _plugin(
        "text", distribution="lingos", version="1.0.0", module="lingos_text", built_in=False,
        import_s=0.041, provides=_names("text", "ask chunk classify extract keywords summarize"),
    ),
    _plugin(
        "quota", distribution="lingos-quota", version="0.4.2", module="lingos_quota:Quota",
        built_in=False, import_s=0.18, hook_calls=48_210, hook_s=0.84,
        provides={"syscalls": ("quota.show", "quota.set"), "policies": ("by-quota",)},
        hooks=[
            {"plugin": "quota", "hook": "lingos_before_syscall", "calls": 24_105, "seconds": 0.61,
             "errors": 0},
            {"plugin": "quota", "hook": "lingos_after_syscall", "calls": 24_105, "seconds": 0.23,
             "errors": 0},
        ],
    ),
    _plugin(
        "weather", distribution="lingos-weather", version="2.1", module="lingos_weather",
        built_in=False, state="failed", import_s=1.3, slow=True, hook_errors=1,
        error="plugin weather cannot be imported: ModuleNotFoundError: No module named 'pyowm'",
    ),
    _plugin(
        "slides", distribution="lingos-slides", version="0.1", module="lingos_slides",
        built_in=False, state="disabled", enabled=False,
    ),
]  # fmt: skip
"""Rows of `plugin.list`."""

_CALLS = (
    ("ana", "human", 12, "llm.chat", "ok", 2.41, ("messages", "model")),
    ("ana", "model", 15, "text.ask", "ok", 0.62, ("question", "file")),
    ("bot", "code", 13, "llm.classify", "ok", 0.08, ("text", "labels")),
    ("bot", "code", 13, "mq.claim", "ok", 0.002, ("queue",)),
    ("eve", "http", 0, "model.remove", "not_permitted", 0.0, ("name",)),
    ("ben", "notebook", 17, "text.summarize", "ok", 1.33, ("text", "words")),
    ("bot", "code", 13, "llm.classify", "call_timeout", 30.0, ("text", "labels")),
    ("ana", "human", 12, "ctx.fork", "ok", 0.004, ("name", "at")),
    ("ben", "notebook", 17, "llm.embed", "ok", 0.031, ("texts",)),
)


def audit_records(count: int = 40) -> list[dict[str, Any]]:
    """Items of `audit.tail`, the last ones of a morning."""
    records = []
    for number in range(count):
        who, caller, pid, syscall, outcome, run_s, arguments = _CALLS[number % len(_CALLS)]
        records.append(
            {
                "time_s": BEGIN_S + 7.3 * number, "principal": who, "tenant": "lab",
                "caller": caller, "pid": pid, "call_id": f"{40_000 + 37 * number:x}-1",
                "parent_id": "", "syscall": syscall, "outcome": outcome, "run_s": run_s,
                "arguments": list(arguments), "hash": f"{number:064x}",
            }
        )  # fmt: skip
    return records


VERIFIED = {
    "intact": True, "records": 48_210, "head": "9f3c27a1d04be865" * 4, "lost_records": 0,
    "bad_line": None, "reason": "", "bad_file": "", "is_complete": True, "file": "audit.jsonl",
    "write_error": "",
}  # fmt: skip

LOG = [
    "2026-01-02 10:00:00,004 INFO lingos_kernel.kernel: LingOS 1.0 takes calls",
    "2026-01-02 10:00:00,310 WARNING lingos_kernel.plugins: plugin weather cannot be imported",
    "2026-01-02 10:00:01,922 INFO lingos.engine: smollm2-135m-instruct is in memory (257 MB)",
    "2026-01-02 10:03:12,118 ERROR lingos.engine: the engine's process ended (signal 9)",
    "2026-01-02 10:03:14,600 INFO lingos.engine: 4 sequences go on where they were",
]

_TEXT = {"type": "string", "description": "the text, or @file"}
_SUMMARIZE = {
    "properties": {
        "text": _TEXT,
        "words": {"type": "integer", "default": 100, "description": "about how long it may be"},
        "style": {"enum": ["prose", "bullets"], "default": "prose", "description": "its form"},
        "focus": {"anyOf": [{"type": "string"}, {"type": "null"}], "default": None,
                  "description": "what it is to be about"},
        "keep": {"type": "array", "items": {"type": "string"}, "default": [],
                 "description": "words that have to stay"},
    },
    "required": ["text"],
}  # fmt: skip


def _info(name: str, summary: str, arguments: dict[str, Any] | None = None) -> SyscallInfo:
    schema = arguments or {"properties": {"text": _TEXT}, "required": ["text"]}
    owner = name.partition(".")[0]
    return SyscallInfo(name, owner, summary, "", name, "engine", None, False, True, schema, {})


SYSCALLS = [
    _info("llm.chat", "Answer a conversation."), _info("llm.complete", "Continue a text."),
    _info("llm.embed", "Turn texts into vectors."), _info("model.list", "List the models."),
    _info("model.pull", "Fetch a model."), _info("proc.kill", "Send a signal to a process."),
    _info("proc.list", "List the processes."), _info("text.ask", "Answer a question about a text."),
    _info("text.classify", "Choose the label that fits."),
    _info("text.extract", "Extract data from a text."),
    _info("text.summarize", "Summarize a text of any length.", _SUMMARIZE),
    _info("text.translate", "Translate a text."),
]  # fmt: skip
