"""Threads of a forward pass."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from lingos_kernel.engine.cpu_threads import CpuThreads


@pytest.fixture
def four_threads() -> Iterator[None]:
    """torch set to four threads; as it was, afterwards."""
    before = torch.get_num_threads()
    torch.set_num_threads(4)
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("four_threads")
def test_few_rows_leave_half_of_the_cores_alone() -> None:
    """Decoding a few sequences takes half, prefill and large batches all."""
    threads = CpuThreads(torch.device("cpu"), 4)
    threads.use_for(1)
    assert torch.get_num_threads() == 2
    threads.use_for(512)
    assert torch.get_num_threads() == 4


@pytest.mark.usefixtures("four_threads")
def test_a_gpu_keeps_the_setting() -> None:
    """Nothing is changed for another device."""
    CpuThreads(torch.device("cuda"), 4).use_for(1)
    assert torch.get_num_threads() == 4
