"""What is shipped."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
def test_the_wheel_holds_the_packages_and_nothing_else(tmp_path: Path) -> None:
    """Tests, documents and role folders stay at home; type markers and the licence go along."""
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)],
        cwd=ROOT,
        check=True,
        capture_output=True,
        timeout=120,
    )
    (wheel,) = tmp_path.glob("lingos-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    tops = {name.split("/")[0] for name in names}
    assert all(top.startswith("lingos") for top in tops), tops
    shipped = {top for top in tops if not top.endswith((".dist-info", ".data"))}
    assert {f"{top}/py.typed" for top in shipped} <= set(names)
    assert any(name.endswith("licenses/LICENSE") for name in names)
    kernelspec = ".data/data/share/jupyter/kernels/lingos/"
    entry = {name.rpartition("/")[2] for name in names if kernelspec in name}
    assert entry == {"kernel.json", "logo-32x32.png", "logo-64x64.png", "logo-svg.svg"}
    kit = "lingos_kernel/testing/"  # the test kit for plugin authors is shipped
    assert [name for name in names if "test" in name and not name.startswith(kit)] == []
