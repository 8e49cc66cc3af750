"""`lingos jupyter`."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("ipykernel")


@pytest.fixture
def prefix(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that is the only one where Jupyter looks for kernels."""
    places = [str(tmp_path / "share" / "jupyter" / "kernels")]
    monkeypatch.setattr("jupyter_client.kernelspec.jupyter_path", lambda *_: places)
    return tmp_path


def test_the_kernel_is_made_known_and_forgotten(lingos: Any, prefix: Path) -> None:
    """The entry starts this Python and has its pictures; forgetting twice is no fault."""
    assert lingos("jupyter", "install", "--prefix", str(prefix)).exit_code == 0
    folder = prefix / "share" / "jupyter" / "kernels" / "lingos"
    entry = json.loads((folder / "kernel.json").read_text())
    assert entry["argv"][0] == sys.executable
    assert entry["interrupt_mode"] == "message"
    assert {"logo-32x32.png", "logo-64x64.png", "logo-svg.svg"} <= {
        p.name for p in folder.iterdir()
    }
    outcome = lingos("jupyter", "uninstall", "--json")
    assert json.loads(outcome.stdout) == {"removed": [str(folder)]}
    assert lingos("jupyter", "uninstall").stdout == "Jupyter did not know it\n"


def test_a_place_that_cannot_be_written_is_told(lingos: Any, tmp_path: Path) -> None:
    """A file where a folder is needed ends with a hint, not with a trace."""
    (tmp_path / "file").write_text("")
    outcome = lingos("jupyter", "install", "--prefix", str(tmp_path / "file"))
    assert outcome.exit_code == 2
    assert "cannot be written" in outcome.stderr
    assert "--user" in outcome.stderr


def test_two_places_are_refused(lingos: Any) -> None:
    """`--user` and `--prefix` mean different folders."""
    assert lingos("jupyter", "install", "--user", "--prefix", "x").exit_code == 2


def test_without_ipykernel_it_says_what_to_install(
    lingos: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The extra that brings ipykernel is named."""
    monkeypatch.setattr("lingos_shell.commands.jupyter.find_spec", lambda _: None)
    outcome = lingos("jupyter", "install")
    assert outcome.exit_code == 2
    assert "lingos[jupyter]" in outcome.stderr
