"""The notebooks of the docs run whole, by the programs that people run notebooks with."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

nbformat = pytest.importorskip("nbformat")
pytest.importorskip("ipykernel")

from lingos_shell.jupyter.spec import install  # noqa: E402

pytestmark = [pytest.mark.model, pytest.mark.slow, pytest.mark.timeout(300)]

NOTEBOOKS = sorted((Path(__file__).parents[2] / "docs" / "notebooks").glob("*.ipynb"))
FIRST = NOTEBOOKS[0]


@pytest.fixture(scope="module")
def jupyter(
    environment: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> dict[str, str]:
    """The environment of a user who has installed the notebook kernel."""
    home = tmp_path_factory.mktemp("jupyter")
    (home / "ipython").mkdir()
    return {
        **environment,
        "IPYTHONDIR": str(home / "ipython"),
        "JUPYTER_PATH": str(install(prefix=str(home)).parent.parent),
    }


def run(jupyter: dict[str, str], folder: Path, *words: str) -> None:
    """Run a program of Jupyter's; what it printed is told when it fails."""
    done = subprocess.run(
        [sys.executable, "-m", *words], env=jupyter, cwd=folder, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


def outputs(file: Path) -> list[Any]:
    """All outputs of a notebook."""
    notebook = nbformat.read(file, as_version=4)
    return [output for cell in notebook.cells for output in cell.get("outputs", [])]


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda file: file.stem)
def test_nbclient_runs_it(jupyter: dict[str, str], tmp_path: Path, notebook: Path) -> None:
    """Every notebook of the docs runs without an error, and says in it what ran."""
    target = tmp_path / notebook.name
    target.write_bytes(notebook.read_bytes())
    run(jupyter, tmp_path, "jupyter", "execute", "--inplace", target.name)
    found = outputs(target)
    assert found
    assert not [output for output in found if output.output_type == "error"]
    details = [output.get("metadata", {}).get("lingos", {}) for output in found]
    assert any({"model", "usage"} <= set(detail) for detail in details)


def test_papermill_runs_it_with_whole_answers(jupyter: dict[str, str], tmp_path: Path) -> None:
    """papermill runs a notebook; without streaming an answer is one output, whole."""
    quiet = {**jupyter, "LINGOS_NOTEBOOK_STREAM": "0"}
    run(quiet, tmp_path, "papermill", str(FIRST), "done.ipynb")
    texts = [output.data.get("text/markdown", "") for output in outputs(tmp_path / "done.ipynb")
             if output.output_type == "display_data"]  # fmt: skip
    assert any("Paris" in text for text in texts)


def test_papermill_sets_parameters(jupyter: dict[str, str], tmp_path: Path) -> None:
    """A cell that is tagged `parameters` is overridden for the language's lines too."""
    cells = [
        nbformat.v4.new_code_cell("name = 'nobody'", metadata={"tags": ["parameters"]}),
        nbformat.v4.new_code_cell("/print {name.upper()} $name"),
    ]
    metadata = {"kernelspec": {"name": "lingos", "display_name": "L", "language": "python"}}
    notebook = nbformat.v4.new_notebook(cells=cells, metadata=metadata)
    nbformat.write(notebook, tmp_path / "asked.ipynb")
    run(jupyter, tmp_path, "papermill", "asked.ipynb", "done.ipynb", "-p", "name", "Ada")
    (shown,) = outputs(tmp_path / "done.ipynb")
    assert shown.data["text/plain"] == "ADA Ada"


def test_nbconvert_keeps_the_live_view_as_a_still(jupyter: dict[str, str], tmp_path: Path) -> None:
    """A page that a program made of a notebook with /top shows the scheduler as it was."""
    metadata = {"kernelspec": {"name": "lingos", "display_name": "L", "language": "python"}}
    cells = [nbformat.v4.new_code_cell("/top")]
    notebook = nbformat.v4.new_notebook(cells=cells, metadata=metadata)
    nbformat.write(notebook, tmp_path / "top.ipynb")
    quiet = {**jupyter, "LINGOS_NOTEBOOK_STREAM": "0"}
    run(quiet, tmp_path, "nbconvert", "--to", "html", "--execute", "top.ipynb")
    assert 'class="lingos-top"' in (tmp_path / "top.html").read_text()


def test_nbconvert_runs_and_exports_it(jupyter: dict[str, str], tmp_path: Path) -> None:
    """nbconvert makes a page of it, with the answers."""
    run(jupyter, tmp_path, "nbconvert", "--to", "html", "--execute", str(FIRST),
        "--output-dir", str(tmp_path))  # fmt: skip
    assert "Paris" in (tmp_path / f"{FIRST.stem}.html").read_text()


def test_a_session_is_exported_and_run(jupyter: dict[str, str], tmp_path: Path) -> None:
    """A session of the terminal becomes a notebook with its answers, which runs again."""
    script = "/session diary\nWhat is the capital of France?\n/export diary.ipynb\n"
    (tmp_path / "diary.los").write_text(script)
    run(jupyter, tmp_path, "lingos_shell", "run", "diary.los")
    said = [output.data["text/markdown"] for output in outputs(tmp_path / "diary.ipynb")]
    assert ["Paris" in text for text in said] == [True]
    run(jupyter, tmp_path, "jupyter", "execute", "--inplace", "diary.ipynb")
    found = outputs(tmp_path / "diary.ipynb")
    assert not [output for output in found if output.output_type == "error"]
    assert any("Paris" in output.get("data", {}).get("text/markdown", "") for output in found)
