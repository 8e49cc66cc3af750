"""Snapshots of a busy machine that never was, the same each time: for tests of screens.

`busy_snapshot(t)` is what the pane draws t seconds after nothing in particular;
`crowded_snapshot(n, t)` has n processes whose numbers change with t.
"""

from __future__ import annotations

import math

from lingos_kernel.engine.stat_rows import SequenceStats
from lingos_kernel.telemetry.snapshot import (
    CallRow,
    DeviceRow,
    KernelRow,
    LockRow,
    ModelRow,
    ProcessRow,
    QueueRow,
    Rates,
    Snapshot,
    Sums,
    ThreadRow,
)

MIB = 1 << 20
CHAT, EMBEDDER, STORED = "smollm2-135m-instruct", "all-minilm-l6-v2", "qwen3-0.6b"


def _process(pid: int, who: str, command: str, **facts: object) -> ProcessRow:
    plain: dict[str, object] = {
        "parent": 1, "principal": who, "tenant": "default", "caller": "human", "kind": "session",
        "model": CHAT, "state": "running", "priority": 0, "queue_position": None, "waited_s": 0.0,
        "prompt_tokens": 0, "output_tokens": 0, "tokens_per_s": 0.0, "first_token_s": None,
        "kv_bytes": 0, "calls": 1, "age_s": 0.0,
    }  # fmt: skip
    return ProcessRow(pid=pid, command=command, **(plain | facts))  # type: ignore[arg-type]


def _processes(t: float) -> tuple[ProcessRow, ...]:
    made = int(41.2 * t)
    return (
        _process(1, "kernel", "kernel", parent=0, caller="kernel", model="", state="idle",
                 calls=0, age_s=3720.0 + t),
        _process(12, "ana", "chat research", waited_s=0.1, prompt_tokens=1820,
                 output_tokens=412 + made, tokens_per_s=41.2, first_token_s=0.11,
                 kv_bytes=38 * MIB, age_s=12.0 + t),
        _process(13, "bot", "batch label reviews.csv", caller="http", kind="job", state="waiting",
                 priority=5, queue_position=0, waited_s=3.4 + t, age_s=40.0 + t),
        _process(15, "ana", "tool text.ask report.md", parent=12, caller="model", kind="agent",
                 prompt_tokens=300, output_tokens=20, tokens_per_s=12.0, first_token_s=0.2,
                 kv_bytes=9 * MIB, age_s=1.0 + t),
        _process(21, "李雷", "摘要 报告.ipynb 第3格", caller="notebook", priority=-5,
                 prompt_tokens=9000, output_tokens=1200 + made, tokens_per_s=61.0,
                 first_token_s=0.8, kv_bytes=110 * MIB, age_s=905.0 + t),
        _process(22, "ליאת", "סיכום הדוח", caller="code", kind="agent", state="stopped",
                 prompt_tokens=50, output_tokens=10, first_token_s=0.3, kv_bytes=2 * MIB,
                 age_s=7205.0 + t),
        _process(31, "cron", "nightly eval --suite all --out " + "deep/" * 30 + "results.jsonl",
                 caller="code", kind="job", state="waiting", priority=10, queue_position=1,
                 waited_s=14.0 + t, age_s=190_000.0 + t),
        _process(34, "mia", "sh", state="idle", calls=0, prompt_tokens=640, output_tokens=210,
                 first_token_s=0.09, age_s=660.0 + t),
    )  # fmt: skip


def _sequence(pid: int, state: str, **facts: object) -> SequenceStats:
    plain: dict[str, object] = {
        "request_id": f"r{pid}", "choice": 0, "model": CHAT, "priority": 0, "queue_position": None,
        "prompt_tokens": 1820, "computed_tokens": 1820, "output_tokens": 412,
        "cached_tokens": 900, "pages": 90, "kv_bytes": 38 * MIB, "waited_s": 0.1,
        "running_s": 11.0, "first_token_s": 0.11, "tokens_per_s": 41.2, "preemptions": 0,
    }  # fmt: skip
    return SequenceStats(pid=pid, state=state, **(plain | facts))  # type: ignore[arg-type]


def _models(waiting: int) -> tuple[ModelRow, ...]:
    return (
        ModelRow(
            name=EMBEDDER, state="ready", kind="embedder", parameters=22_700_000,
            weight_bytes=91 * MIB, kv_bytes=0, kv_used_bytes=0, kv_cached_bytes=0,
            context_tokens=256, running=0, waiting=0, device="cpu", pinned=False, idle_s=62.0,
        ),
        ModelRow(
            name=STORED, state="stored", kind="causal", parameters=596_000_000, weight_bytes=0,
            kv_bytes=0, kv_used_bytes=0, kv_cached_bytes=0, context_tokens=40_960, running=0,
            waiting=0, device="", pinned=False, idle_s=0.0,
        ),
        ModelRow(
            name=CHAT, state="busy", kind="causal", parameters=134_500_000, weight_bytes=257 * MIB,
            kv_bytes=1331 * MIB, kv_used_bytes=812 * MIB, kv_cached_bytes=210 * MIB,
            context_tokens=8192, running=3, waiting=waiting, device="cpu", pinned=True, idle_s=0.0,
        ),
    )  # fmt: skip


def busy_snapshot(t: float = 0.0) -> Snapshot:
    """A machine with much to do, `t` seconds in; loads swing slowly so that graphs have shapes."""
    swing = 0.5 + 0.5 * math.sin(t / 6.0)
    ripple = 0.5 + 0.5 * math.sin(t / 2.3 + 1.0)
    used = int((500 + 312 * swing) * MIB)
    return Snapshot(
        time_s=1_790_000_000.0 + t,
        kernel=KernelRow("0.1.0", 100, 101, 0, 3720.0 + t, "priority", 4211, 3, True),
        devices=(
            DeviceRow(
                "cpu", "2 cores, AVX-512", 24 * 1024 * MIB, 1679 * MIB, 348 * MIB, 1331 * MIB,
                used, 210 * MIB, 1331 * MIB - used - 210 * MIB, 3100 * MIB, 0.35 + 0.6 * swing,
                None, None, 52.0,
            ),
        ),
        rates=Rates(
            260.0 + 980.0 * ripple, 90.0 + 92.4 * swing, 0.74, 3, 120_000, 54_000, 91_000, 0.0421,
            0.71,
        ),
        sums=Sums(1679 * MIB, 38 * MIB, 44, 0.07, 0.4, 0.00002, 4.2, 120.0, 0.03),
        processes=_processes(t),
        calls=(
            CallRow("c2", 12, "ana", "llm.chat", "running", 0, None, 12.0 + t),
            CallRow("c3", 15, "ana", "text.ask", "running", 0, None, 1.0 + t),
            CallRow("c4", 13, "bot", "llm.chat", "queued", 5, 0, 3.4 + t),
        ),
        sequences=(
            _sequence(12, "decode"),
            _sequence(21, "prefill", priority=-5, prompt_tokens=9000, computed_tokens=5120,
                      output_tokens=0),
            _sequence(13, "waiting", priority=5, queue_position=0, prompt_tokens=700,
                      computed_tokens=0, output_tokens=0, waited_s=3.4 + t, running_s=0.0),
            _sequence(31, "waiting", priority=10, queue_position=1, prompt_tokens=2048,
                      computed_tokens=512, output_tokens=0, waited_s=14.0 + t, running_s=0.0),
        ),
        threads=(
            ThreadRow("pool-1", "running", "text.ask", 15, "", "chunks.py:41 split", 1.2, 3.0),
            ThreadRow("pool-2", "blocked", "index.add", 13, "lock index", "locks.py:88 wait", 0.1,
                      9.0),
            ThreadRow("pool-3", "idle", "", 0, "", "", 0.4, 1.0),
        ),
        locks=(LockRow("index", "mutex", (15,), (13,), 0),
               LockRow("downloads", "semaphore", (), (), 4)),
        queues=(QueueRow("mail:12", 3, 1024, 1, 40, 37, 2.0),),
        models=_models(int(4 * ripple)),
    )  # fmt: skip


def crowded_snapshot(count: int, t: float = 0.0) -> Snapshot:
    """As `busy_snapshot`, with `count` processes; most of their numbers change with `t`."""
    states = ("running", "waiting", "idle", "stopped")
    rows = [
        _process(
            100 + n, f"user{n % 17}", f"job {n} of the crowd", parent=1 if n % 3 else 100 + n // 3,
            state=states[n % 4], priority=n % 40 - 20, queue_position=n if n % 4 == 1 else None,
            waited_s=t if n % 4 == 1 else 0.0, prompt_tokens=17 * n,
            output_tokens=int(n + 20 * t) if n % 4 == 0 else n,
            tokens_per_s=30.0 + (n * 7 + 13 * t) % 50 if n % 4 == 0 else 0.0,
            first_token_s=0.1, kv_bytes=(n % 50 + int(4 * t)) * MIB, age_s=n + t,
        )
        for n in range(count)
    ]  # fmt: skip
    busy = busy_snapshot(t)
    changed = {"processes": tuple(rows)}
    return Snapshot(**{name: changed.get(name, getattr(busy, name))
                       for name in Snapshot.__struct_fields__})  # fmt: skip
