"""`lingos top --once`."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest

from lingos_kernel.engine.stat_rows import TierStats
from lingos_kernel.telemetry.snapshot import (
    CallRow,
    DeviceRow,
    KernelRow,
    ModelRow,
    ProcessRow,
    Rates,
    Snapshot,
    Sums,
    ThreadRow,
)

GIB = 1 << 30

SNAPSHOT = Snapshot(
    time_s=1.8e9,
    kernel=KernelRow(
        version="0.1.0", os_pid=10, engine_os_pid=11, engine_restarts=1, uptime_s=3700.0,
        policy="priority", calls_total=12, calls_failed=1, accepting=True,
    ),
    devices=(
        DeviceRow(
            name="cpu", description="a CPU", total_bytes=8 * GIB, budget_bytes=4 * GIB,
            weights_bytes=GIB // 2, kv_total_bytes=GIB, kv_used_bytes=GIB // 4,
            kv_cached_bytes=GIB // 8, kv_free_bytes=GIB // 2, other_bytes=0, utilisation=0.5,
            bandwidth_share=None, power_watts=None, temperature_c=None,
        ),
    ),
    rates=Rates(
        prompt_tokens_per_s=100.0, output_tokens_per_s=25.5, prefix_hit_share=0.4,
        preemptions_total=2, prompt_tokens_total=1000, output_tokens_total=300,
        cached_tokens_total=400, step_s=0.021, floor_share=0.6,
    ),
    sums=Sums(
        memory_budget_bytes=4 * GIB, memory_per_inference_bytes=GIB / 3, inferences_that_fit=12,
        load=0.08, thread_task_s=0.4, thread_switch_s=0.001, threads_wanted=2.5,
        library_efficiency=3.0, decode_floor_s=0.012,
    ),
    processes=(
        ProcessRow(
            pid=2, parent=1, principal="ada", tenant="ada", caller="human", kind="job",
            command="run hello\x1b[2J", model="tiny", state="running", priority=-3,
            queue_position=None, waited_s=0.1, prompt_tokens=9, output_tokens=4,
            tokens_per_s=25.5, first_token_s=0.2, kv_bytes=4096, calls=1, age_s=2.0,
        ),
    ),
    calls=(
        CallRow(
            call_id="c", pid=2, principal="ada", syscall="llm.chat", state="queued", priority=0,
            queue_position=0, age_s=1.0,
        ),
    ),
    sequences=(),
    threads=(
        ThreadRow(
            name="pool-1", state="running", syscall="text.chunk", pid=2, waiting_on="",
            frame="a.py:1 f", cpu_s=0.1, busy_s=0.2,
        ),
    ),
    locks=(),
    queues=(),
    models=(
        ModelRow(
            name="tiny", state="busy", kind="causal", parameters=1000, weight_bytes=GIB // 2,
            kv_bytes=GIB, kv_used_bytes=GIB // 4, kv_cached_bytes=0, context_tokens=8192,
            running=1, waiting=0, device="cpu", pinned=True, idle_s=0.0, ttl_s=300.0,
            why="waiting for model tiny: 1.0 MiB needed, other busy",
            tiers=(
                TierStats(
                    name="host", total_bytes=GIB, used_bytes=GIB // 8, spilled_pages=31,
                    restored_pages=21, hit_tokens=336,
                ),
                TierStats(name="disk", off_reason="No space left on device"),
            ),
        ),
    ),
)  # fmt: skip


@pytest.fixture
def kernel(kernel: Any) -> Any:
    """The stand-in with a snapshot."""
    kernel.answers["sys.snapshot"] = lambda: msgspec.to_builtins(SNAPSHOT)
    return kernel


def test_json_is_the_whole_snapshot(lingos: Any) -> None:
    """Programs get everything that the pane draws."""
    assert json.loads(lingos("top", "--once", "--json").stdout) == json.loads(
        msgspec.json.encode(SNAPSHOT)
    )


@pytest.mark.parametrize(
    "part",
    [
        "up 1 h 01 m",
        "policy priority",
        "12 (1 failed)",
        "engine restarts 1",
        "output 25.5",
        "prefix hits 40%",
        "1 of 1 busy",
        "wanted N = 2.5",
        "M = 4.0 GiB",
        "N = 12",
        "busy pinned",
        "31 pages",
        "336",
        "No space left on device",
        "5 m 00 s",
        "1.0 MiB needed, other busy",
        "L = 0.08",
        "256.0 MiB of 1.0 GiB",
        "Waiting calls",
        "llm.chat",
    ],
)
def test_the_picture_shows(lingos: Any, part: str) -> None:
    """Kernel, rates, sums, devices, models, processes and waiting calls."""
    assert part in lingos("top", "--once").stdout


def test_a_command_cannot_paint_the_terminal(lingos: Any) -> None:
    """Control characters of other people's prompts are not passed on."""
    assert "\x1b" not in lingos("top", "--once").stdout


def test_no_kernel_is_started(lingos: Any, kernel: Any) -> None:
    """There would be nothing to see."""
    kernel.running = False
    assert lingos("top", "--once").exit_code == 3
