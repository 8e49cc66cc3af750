"""What the devices say of themselves: memory, utilisation, power, temperature."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from functools import cache
from typing import Any

import psutil

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class DeviceReading:
    """One look at a device; None where it does not tell."""

    total_bytes: int
    used_bytes: int
    utilisation: float | None = None
    """0 to 1."""
    bandwidth_share: float | None = None
    """Share of the time in which memory was read or written, 0 to 1."""
    power_watts: float | None = None
    temperature_c: float | None = None


def read_device(name: str) -> DeviceReading:
    """A reading of `cpu` or `cuda:N`."""
    if name.startswith("cuda"):
        reading = _read_gpu(int(name.partition(":")[2] or 0))
        if reading is not None:
            return reading
    return _read_cpu()


def _read_cpu() -> DeviceReading:
    memory = psutil.virtual_memory()
    return DeviceReading(
        total_bytes=memory.total,
        used_bytes=memory.total - memory.available,
        utilisation=psutil.cpu_percent(interval=None) / 100,
        temperature_c=_cpu_temperature(),
    )


def _cpu_temperature() -> float | None:
    sensors: dict[str, Any] = getattr(psutil, "sensors_temperatures", dict)()
    for name in ("coretemp", "k10temp", "cpu_thermal"):
        if sensors.get(name):
            return float(sensors[name][0].current)
    return None


@cache
def _nvml() -> Any | None:
    """The NVML module, initialised once; None where there is no NVIDIA driver."""
    try:
        import pynvml

        pynvml.nvmlInit()
    except Exception as error:  # noqa: BLE001 - a driver can fail in any way; the pane still draws
        log.info("no NVIDIA management library: %s", error)
        return None
    return pynvml


def _read_gpu(index: int) -> DeviceReading | None:
    nvml = _nvml()
    if nvml is None:
        return None
    try:
        handle = nvml.nvmlDeviceGetHandleByIndex(index)
        memory = nvml.nvmlDeviceGetMemoryInfo(handle)
        rates = nvml.nvmlDeviceGetUtilizationRates(handle)
        return DeviceReading(
            total_bytes=int(memory.total),
            used_bytes=int(memory.used),
            utilisation=rates.gpu / 100,
            bandwidth_share=rates.memory / 100,
            power_watts=nvml.nvmlDeviceGetPowerUsage(handle) / 1000,
            temperature_c=float(nvml.nvmlDeviceGetTemperature(handle, nvml.NVML_TEMPERATURE_GPU)),
        )
    except nvml.NVMLError as error:
        log.info("GPU %d does not answer: %s", index, error)
        return None
