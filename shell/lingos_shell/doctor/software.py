"""The software: torch, transformers and the GPU. Torch is asked in a process of its own."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from lingos_shell.doctor.finding import Finding, fail, ok, warn

REINSTALL = "reinstall: pip install -c constraints.txt -e ."
TORCH_PATIENCE_S = 120.0
NVIDIA_DEVICE = Path("/dev/nvidiactl")

PROBE = """
import json, torch
gpus = range(torch.cuda.device_count()) if torch.cuda.is_available() else ()
print(json.dumps({
    "version": torch.__version__,
    "cuda": torch.version.cuda,
    "gpus": [torch.cuda.get_device_name(i) for i in gpus],
    "memory": [torch.cuda.mem_get_info(i) for i in gpus],
    "threads": torch.get_num_threads(),
}))
"""


@dataclass(frozen=True, slots=True)
class TorchFacts:
    """What torch says of itself; `error` when it could not be imported."""

    version: str = ""
    cuda: str | None = None
    gpus: tuple[str, ...] = ()
    memory: tuple[tuple[int, int], ...] = ()
    """Free and total bytes of each GPU."""
    threads: int = 0
    error: str = ""


def ask_torch() -> TorchFacts:
    """Import torch in a subprocess and ask it."""
    try:
        done = subprocess.run(
            [sys.executable, "-c", PROBE],
            capture_output=True,
            text=True,
            timeout=TORCH_PATIENCE_S,
            check=False,
            stdin=subprocess.DEVNULL,
        )
    except subprocess.TimeoutExpired:
        return TorchFacts(error=f"importing torch takes more than {TORCH_PATIENCE_S:g} s")
    if done.returncode != 0:
        lines = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
        return TorchFacts(error=lines[-1])
    return read_probe(done.stdout)


def read_probe(output: str) -> TorchFacts:
    """The facts in the probe's output, whose last line is JSON."""
    facts = json.loads(output.strip().splitlines()[-1])
    gpus, memory = tuple(facts.pop("gpus")), tuple(tuple(pair) for pair in facts.pop("memory"))
    return TorchFacts(**facts, gpus=gpus, memory=memory)


def check_torch(facts: TorchFacts) -> Finding:
    """Whether torch can be imported and is new enough."""
    if facts.error:
        return fail("torch", facts.error, REINSTALL)
    if _numbers(facts.version) < (2, 11):
        return fail("torch", f"{facts.version} is too old (2.11 or newer)", REINSTALL)
    return ok("torch", f"{facts.version}, {facts.threads} threads")


def check_gpu(facts: TorchFacts, *, has_nvidia: bool) -> Finding:
    """Whether a GPU that is there is used."""
    from lingos_shell.units import bytes_text

    if facts.gpus:
        texts = [
            f"{name}, {bytes_text(free)} free of {bytes_text(total)}"
            for name, (free, total) in zip(facts.gpus, facts.memory, strict=True)
        ]
        return ok("gpu", "; ".join(texts))
    if has_nvidia and not facts.error:
        build = f"CUDA {facts.cuda}" if facts.cuda else "no CUDA"
        return warn(
            "gpu",
            f"this machine has an NVIDIA GPU that torch (built for {build}) cannot use",
            "install the torch build that fits the driver (pytorch.org), or update the driver",
        )
    return ok("gpu", "none; models run on the CPU")


def check_transformers(version: str | None) -> Finding:
    """Whether a fitting transformers is installed (its version is read, not imported)."""
    if version is None:
        return fail("transformers", "not installed", REINSTALL)
    if not (5, 17) <= _numbers(version) < (6, 0):
        return fail("transformers", f"{version} does not fit (5.17 or newer, below 6)", REINSTALL)
    return ok("transformers", version)


def installed_version(distribution: str) -> str | None:
    """The version of an installed distribution; None when it is not there."""
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version(distribution)
    except PackageNotFoundError:
        return None


def software_findings(environ: Mapping[str, str]) -> Iterator[Finding]:
    """All checks of this module."""
    facts = ask_torch()
    hidden = environ.get("CUDA_VISIBLE_DEVICES") in ("", "-1")
    yield check_torch(facts)
    yield check_transformers(installed_version("transformers"))
    yield check_gpu(facts, has_nvidia=NVIDIA_DEVICE.exists() and not hidden)
    version = installed_version("ipykernel")
    yield check_notebooks(version, find_kernelspec() if version else None)


def check_notebooks(version: str | None, place: Path | None) -> Finding:
    """Whether notebooks can be used, which nobody has to: what there is of ipykernel, and where."""
    if version is None:
        return ok("notebooks", "not installed (`pip install 'lingos[jupyter]'`)")
    if place is None:
        return ok("notebooks", f"ipykernel {version}; `lingos jupyter install` tells Jupyter of it")
    return ok("notebooks", f"ipykernel {version}, known to Jupyter ({place})")


def find_kernelspec() -> Path | None:
    """Where Jupyter finds the notebook kernel's entry; needs ipykernel, which brings this."""
    from jupyter_core.paths import jupyter_path

    places = (Path(folder) / "lingos" for folder in jupyter_path("kernels"))
    return next((place for place in places if (place / "kernel.json").is_file()), None)


def _numbers(version: str) -> tuple[int, int]:
    major, minor = version.split("+")[0].split(".")[:2]
    return int(major), int(minor)
