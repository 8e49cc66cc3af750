"""How settings reach the kernel's process."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from lingos_kernel.client import launch as launch_module
from lingos_kernel.client.launch import decode_config, encode_config, launch, log_file
from lingos_kernel.config import Config, load_config
from lingos_kernel.errors import KernelUnavailable


@pytest.fixture
def config(tmp_path: Path) -> Config:
    """Settings from several sources."""
    environ = {"LINGOS_HOME": str(tmp_path), "LINGOS_LOAD_PLUGINS": "a,b"}
    return load_config(environ=environ, overrides={"engine.max_running": 3})


def test_settings_arrive_as_they_were(config: Config) -> None:
    """Every value and every source survives, paths and tuples included."""
    assert decode_config(encode_config(config)) == config


def test_dead_kernel_is_noticed_and_quoted(
    config: Config, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A process that dies before it is ready is an error with its last words, not a wait."""
    words = "import sys; print('\\n'.join(map(str, range(99))), file=sys.stderr); sys.exit(1)"
    script = tmp_path / "python"
    script.write_text(f'#!/bin/sh\nexec "{sys.executable}" -c "{words}"\n')
    script.chmod(0o755)
    monkeypatch.setattr(launch_module.sys, "executable", str(script))
    log_file(config).parent.mkdir(parents=True)
    log_file(config).write_text("words of a kernel before\n")
    with pytest.raises(KernelUnavailable, match="did not start") as caught:
        launch(config)
    assert caught.value.message.endswith("\n  97\n  98")
    assert "before" not in caught.value.message
    assert str(log_file(config)) in caught.value.hint


def test_slow_kernel_is_given_up(
    config: Config, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A process that never gets ready is waited for only so long."""
    script = tmp_path / "python"
    gate = tmp_path / "gate"
    os.mkfifo(gate)
    script.write_text(f"#!/bin/sh\ncat > /dev/null\ncat {gate} &\n")
    script.chmod(0o755)
    monkeypatch.setattr(launch_module.sys, "executable", str(script))
    with pytest.raises(KernelUnavailable, match="did not start"):
        launch(config, timeout_s=0.05)
    gate.open("w").close()  # lets it end


def test_client_imports_little() -> None:
    """A warm command pays for neither httpx, pydantic, torch nor the server."""
    code = (
        "import sys, lingos_kernel.client.connect, lingos_kernel.client.sync;"
        "heavy = {'httpx', 'pydantic', 'torch', 'uvicorn', 'starlette', 'numpy', 'psutil'};"
        "print(*heavy & sys.modules.keys())"
    )
    assert subprocess.check_output([sys.executable, "-c", code], timeout=60) == b"\n"
