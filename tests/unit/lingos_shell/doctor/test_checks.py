"""Each check of `lingos doctor`, judged from given facts."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from lingos_kernel.errors import KernelUnavailable
from lingos_kernel.models.store import ModelStore
from lingos_shell.doctor import kernel, machine, software
from lingos_shell.doctor.finding import Finding
from lingos_shell.doctor.software import TorchFacts

GIB = 1 << 30
TORCH = TorchFacts(version="2.13.0+cpu", threads=2)


@pytest.mark.parametrize(
    ("finding", "status"),
    [
        (machine.check_python((3, 11, 7)), "ok"),
        (machine.check_python((3, 10, 2)), "fail"),
        (machine.check_disk(Path("/x"), 100 * GIB), "ok"),
        (machine.check_disk(Path("/x"), 2 * GIB), "warn"),
        (machine.check_disk(Path("/x"), GIB // 10), "fail"),
        (machine.check_memory(8 * GIB, 16 * GIB), "ok"),
        (machine.check_memory(GIB * 3 // 2, 16 * GIB), "warn"),
        (machine.check_memory(GIB // 2, 16 * GIB), "fail"),
        (machine.check_clock(1.9e9), "ok"),
        (machine.check_clock(0), "fail"),
        (software.check_torch(TORCH), "ok"),
        (software.check_torch(TorchFacts(version="2.9.1", threads=2)), "fail"),
        (software.check_torch(TorchFacts(error="ModuleNotFoundError: torch")), "fail"),
        (software.check_transformers("5.23.0"), "ok"),
        (software.check_transformers("6.0.0"), "fail"),
        (software.check_transformers("5.2"), "fail"),
        (software.check_transformers(None), "fail"),
        (software.check_gpu(TORCH, has_nvidia=False), "ok"),
        (software.check_gpu(TORCH, has_nvidia=True), "warn"),
        (
            software.check_gpu(
                TorchFacts("2.13.0", "13.0", ("H100",), ((GIB, 2 * GIB),), 4), has_nvidia=True
            ),
            "ok",
        ),
        (kernel.check_kernel({"version": "0.1.0", "os_pid": 3}), "ok"),
        (kernel.check_kernel({"version": "0.0.9", "os_pid": 3}), "warn"),
        (kernel.check_kernel(KernelUnavailable("none", reason="absent")), "ok"),
        (kernel.check_kernel(KernelUnavailable("silent", reason="silent")), "fail"),
        (kernel.check_plugins([]), "ok"),
        (kernel.check_plugins([{"name": "a", "error": "", "slow": True}]), "warn"),
        (kernel.check_plugins([{"name": "a", "error": "no", "slow": False}]), "warn"),
    ],
)
def test_judgement(finding: Finding, status: str) -> None:
    """Good facts are ok; whatever is not, says how to mend it."""
    assert finding.status == status
    assert finding.detail
    assert bool(finding.mend) == (status != "ok")


def test_the_sockets_folder_is_private(tmp_path: Path) -> None:
    """Others must not enter it, and it must be the user's own."""
    tmp_path.chmod(0o700)
    me = os.getuid()
    assert machine.check_folders(tmp_path, [tmp_path / "new"], user=me).status == "ok"
    assert machine.check_folders(tmp_path / "none", [], user=me).status == "ok"
    tmp_path.chmod(0o755)
    assert machine.check_folders(tmp_path, [], user=me).status == "warn"
    assert machine.check_folders(tmp_path, [], user=me + 1).status == "fail"


@pytest.mark.skipif(os.getuid() == 0, reason="root may write everywhere")
def test_folders_are_writable(tmp_path: Path) -> None:
    """A store that cannot be written is found before a pull fails."""
    tmp_path.chmod(0o500)
    finding = machine.check_folders(tmp_path / "run", [tmp_path / "store"], user=os.getuid())
    assert finding.status == "fail"


def test_a_model_that_is_not_there_can_be_pulled(tmp_path: Path) -> None:
    """The hint is the command."""
    finding = kernel.check_model(ModelStore(tmp_path), "smollm2-135m-instruct")
    assert (finding.status, finding.mend) == ("warn", "lingos pull smollm2-135m-instruct")


def test_the_probe_is_read_after_other_output() -> None:
    """Libraries may say something first."""
    line = json.dumps({"version": "2.13", "cuda": None, "gpus": [], "memory": [], "threads": 1})
    assert software.read_probe(f"a warning\n{line}\n") == TorchFacts(version="2.13", threads=1)


def test_doctor_tells_all_and_its_exit_code_says_whether_something_fails(
    lingos: Any, kernel: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It works without a kernel, and starts none."""
    kernel.running = False
    monkeypatch.setattr(software, "ask_torch", lambda: TORCH)
    monkeypatch.setattr(machine, "check_memory", lambda *_: Finding("memory", "ok", "enough"))
    outcome = lingos("doctor", "--json")
    report = json.loads(outcome.stdout)
    assert outcome.exit_code == 0
    assert report["ok"] is True
    names = [check["name"] for check in report["checks"]]
    assert names == [
        "python", "clock", "settings", "disk", "memory", "folders", "torch", "transformers",
        "gpu", "notebooks", "model", "kernel", "plugins",
    ]  # fmt: skip
    monkeypatch.setattr(software, "ask_torch", lambda: TorchFacts(error="broken"))
    outcome = lingos("doctor")
    assert outcome.exit_code == 1
    assert "FAIL  torch         broken" in outcome.stdout
    assert "mend: reinstall" in outcome.stdout


def test_wrong_settings_are_a_finding_too(lingos: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is wrong is said, and how to mend it; nothing else can be known."""
    monkeypatch.setenv("LINGOS_ENGINE_MAX_RUNNING", "many")
    outcome = lingos("doctor")
    assert outcome.exit_code == 1
    assert "FAIL  settings" in outcome.stdout


@pytest.mark.parametrize(
    ("version", "place", "words"),
    [
        (None, None, "lingos[jupyter]"),
        ("7.4.0", None, "lingos jupyter install"),
        ("7.4.0", Path("/x/lingos"), "known to Jupyter (/x/lingos)"),
    ],
)
def test_notebooks_are_told_and_never_wrong(
    version: str | None, place: Path | None, words: str
) -> None:
    """Nobody has to use notebooks; the line says how one could."""
    finding = software.check_notebooks(version, place)
    assert finding.status == "ok"
    assert words in finding.detail


def test_the_notebook_kernel_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The entry is looked for where Jupyter looks."""
    pytest.importorskip("jupyter_core")
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path))
    folder = tmp_path / "kernels" / "lingos"
    folder.mkdir(parents=True)
    (folder / "kernel.json").write_text("{}")
    assert software.find_kernelspec() == folder
