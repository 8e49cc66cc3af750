"""Threads of a forward pass."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from lingos_kernel.engine import cpu_threads
from lingos_kernel.engine.cpu_threads import CpuThreads, OthersWork, read_work
from lingos_kernel.engine.transport import patience

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def four_threads(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A machine of four cores, torch set to four threads; as it was, afterwards."""
    before = torch.get_num_threads()
    torch.set_num_threads(4)
    monkeypatch.setattr(cpu_threads.os, "cpu_count", lambda: 4)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize(
    ("rows", "others", "threads"),
    [
        *((1, 0.0, 2), (7, 0.4, 2), (8, 0.0, 4), (512, 0.4, 4)),
        *((512, 0.6, 3), (512, 2.2, 2), (1, 2.2, 2), (512, 4.0, 1), (1, 9.0, 1)),
    ],
)
def test_cores_that_others_use_are_left_alone(rows: int, others: float, threads: int) -> None:
    """Decoding a few sequences takes half, prefill and large batches all that are free."""
    CpuThreads(CPU, 4, lambda: others).use_for(rows)
    assert torch.get_num_threads() == threads


def test_a_gpu_keeps_the_setting() -> None:
    """Nothing is changed for another device."""
    CpuThreads(torch.device("cuda"), 4, lambda: 9.0).use_for(1)
    assert torch.get_num_threads() == 4


def test_the_work_of_others_is_what_is_not_ours() -> None:
    """Seconds of everybody less ours, by the clock, looked at now and then."""
    now_s, work = 10.0, (100.0, 20.0)
    others = OthersWork(lambda: work, lambda: now_s)
    now_s, work = 10.4, (101.0, 20.0)
    assert others.cores() == 0.0
    now_s, work = 12.0, (105.0, 22.0)
    assert others.cores() == pytest.approx((5.0 - 2.0) / 2.0)
    now_s, work = 13.0, (106.0, 23.1)
    assert others.cores() == 0.0


def test_the_machine_tells_its_work() -> None:
    """All programs together have worked longer than this one."""
    everybody, own = read_work()
    assert everybody > own > 0


@pytest.mark.parametrize("name", ["OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME"])
def test_who_sets_how_threads_wait_has_it_so(name: str) -> None:
    """Waiting threads fall asleep soon, unless the user has said how they wait."""
    assert patience({"HOME": "x"})["GOMP_SPINCOUNT"] == "10000"
    assert patience({name: "7"}) == {}
