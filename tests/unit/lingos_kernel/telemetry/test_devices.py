"""What a device says of itself."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from lingos_kernel.telemetry import devices


class FakeNvml:
    """The NVIDIA library with one GPU."""

    NVML_TEMPERATURE_GPU = 0

    class NVMLError(Exception):
        """What it raises."""

    def nvmlDeviceGetHandleByIndex(self, index: int) -> int:  # noqa: N802  the library's name
        """Only GPU 0 is there."""
        if index:
            raise self.NVMLError("no such device")
        return index

    def nvmlDeviceGetMemoryInfo(self, _: int) -> Any:  # noqa: N802  the library's name
        """80 of 100 bytes are used."""
        return SimpleNamespace(total=100, used=80)

    def nvmlDeviceGetUtilizationRates(self, _: int) -> Any:  # noqa: N802  the library's name
        """In percent."""
        return SimpleNamespace(gpu=50, memory=25)

    def nvmlDeviceGetPowerUsage(self, _: int) -> int:  # noqa: N802  the library's name
        """In milliwatts."""
        return 250_000

    def nvmlDeviceGetTemperature(self, _: int, __: int) -> int:  # noqa: N802  the library's name
        """In degrees."""
        return 61


def test_the_cpu_tells_its_memory() -> None:
    """Used is at most what there is."""
    reading = devices.read_device("cpu")
    assert 0 < reading.used_bytes < reading.total_bytes
    assert reading.power_watts is None


def test_a_gpu_tells_all_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shares are from 0 to 1, power is in watts."""
    monkeypatch.setattr(devices, "_nvml", FakeNvml)
    reading = devices.read_device("cuda:0")
    assert reading == devices.DeviceReading(100, 80, 0.5, 0.25, 250.0, 61.0)


def test_a_gpu_that_does_not_answer_leaves_the_machine_s_memory(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Without a driver, or with a fault of it, the pane still has numbers."""
    monkeypatch.setattr(devices, "_nvml", FakeNvml)
    assert devices.read_device("cuda:1").total_bytes > 100
    monkeypatch.setattr(devices, "_nvml", lambda: None)
    assert devices.read_device("cuda:0").total_bytes > 100
