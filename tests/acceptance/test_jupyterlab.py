"""A real JupyterLab in a headless browser: cells against the real model, the live view, cancel."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

pytest.importorskip("jupyterlab")
playwright = pytest.importorskip("playwright.sync_api")
nbformat = pytest.importorskip("nbformat")

from lingos_kernel.models.store import ModelStore, StoredModel  # noqa: E402
from lingos_shell.jupyter.spec import install  # noqa: E402

if TYPE_CHECKING:
    from playwright.sync_api import Page

CHROMIUM = shutil.which("chromium")
LINGOS = [sys.executable, "-m", "lingos_shell"]
WAIT_MS = 60_000
PICTURES = os.environ.get("LINGOS_PICTURES", "")
"""A folder for the screenshots of the docs; empty: they are not kept."""

pytestmark = [
    pytest.mark.model,
    pytest.mark.slow,
    pytest.mark.timeout(300),
    pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed"),
]

CELLS = (
    "/top",
    "? What is the capital of France?",
    "? Write a very long story about a dog.",
)
CONFIGURATION = """
c = get_config()
c.ServerApp.port = 0
c.ServerApp.open_browser = False
c.ServerApp.allow_root = True
c.IdentityProvider.token = ""
c.LabApp.expose_app_in_browser = True
"""


@pytest.fixture
def server(tmp_path: Path, model_store: ModelStore, default_model: StoredModel) -> Iterator[str]:
    """The address of a JupyterLab whose folder holds `demo.ipynb`; all of it in a fresh home."""
    home = tmp_path / "home"
    (home / "ipython").mkdir(parents=True)
    notebook = nbformat.v4.new_notebook(
        cells=[nbformat.v4.new_code_cell(source) for source in CELLS],
        metadata={
            "kernelspec": {
                "name": "lingos",
                "display_name": "LingOS (Python)",
                "language": "python",
            }
        },
    )
    folder = tmp_path / "work"
    folder.mkdir()
    nbformat.write(notebook, folder / "demo.ipynb")
    (home / "config.py").write_text(CONFIGURATION)
    quiet = home / "settings" / "@jupyterlab" / "apputils-extension"
    quiet.mkdir(parents=True)
    (quiet / "notification.jupyterlab-settings").write_text('{"fetchNews": "false"}')
    clean = {key: value for key, value in os.environ.items() if not key.startswith("LINGOS_")}
    clean |= {
        "HOME": str(home),
        "LINGOS_HOME": str(home),
        "LINGOS_MODELS_STORE": str(model_store.root),
        "IPYTHONDIR": str(home / "ipython"),
        "JUPYTER_PATH": str(install(prefix=str(home)).parent.parent),
        "JUPYTERLAB_SETTINGS_DIR": str(home / "settings"),
        "JUPYTER_RUNTIME_DIR": str(home / "runtime"),
        "JUPYTER_CONFIG_DIR": str(home / "config"),
    }
    subprocess.run([*LINGOS, "kernel", "start"], env=clean, check=True, capture_output=True)
    process = subprocess.Popen(
        [sys.executable, "-m", "jupyterlab", f"--config={home / 'config.py'}"],
        env=clean,
        cwd=folder,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    log = ""
    address = None
    while address is None:
        line = process.stderr.readline()
        assert line, f"JupyterLab ended: {log}"
        log += line
        address = re.search(r"http://(?:localhost|127\.0\.0\.1):\d+/lab", line)
    drain = subprocess.Popen(["cat"], stdin=process.stderr, stdout=subprocess.DEVNULL)
    yield address[0]
    process.terminate()
    process.wait(30)
    drain.wait(30)
    process.stderr.close()
    subprocess.run([*LINGOS, "kernel", "stop"], env=clean, check=True, capture_output=True)


@pytest.fixture
def page(server: str) -> Iterator[Page]:
    """A browser that shows the notebook."""
    with playwright.sync_playwright() as tools:
        browser = tools.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1280, "height": 1000})
        page.set_default_timeout(WAIT_MS)
        page.goto(f"{server}/tree/demo.ipynb?reset")
        page.wait_for_selector(".jp-Notebook .jp-CodeCell")
        wait_until_idle(page)
        page.evaluate("() => window.jupyterapp.commands.execute('application:toggle-left-area')")
        yield page
        keep(page, "notebook-end")
        browser.close()


def execute(page: Page, command: str, **arguments: Any) -> None:
    """Run a command of JupyterLab without waiting for its end."""
    page.evaluate(
        "([name, given]) => { window.jupyterapp.commands.execute(name, given); }",
        [command, arguments],
    )


def wait_until_idle(page: Page) -> None:
    """Wait until the notebook's kernel takes cells."""
    page.wait_for_function("() => document.body.innerText.includes('LingOS (Python) | Idle')")


def keep(page: Page, name: str) -> None:
    """Keep a picture for the docs, when they are being made."""
    if PICTURES:
        page.screenshot(path=f"{PICTURES}/{name}.png")


def test_a_notebook_against_the_real_model(page: Page) -> None:
    """Cells answer, the live view changes, its button stops an answer, a reload loses nothing."""
    execute(page, "notebook:run-all-cells")
    page.wait_for_selector(".lingos-top")
    story = page.locator(".jp-CodeCell").nth(2).locator(".jp-OutputArea-output").first
    story.wait_for()
    assert "Paris" in page.locator(".jp-CodeCell").nth(1).inner_text()

    before = page.locator(".lingos-top .facts").inner_text()
    page.wait_for_function(
        "before => document.querySelector('.lingos-top .facts').innerText !== before", arg=before
    )
    keep(page, "notebook-live")
    page.locator(".lingos-top tr", has_text="notebook demo.ipynb").locator(
        "button[data-action=cancel]"
    ).first.click()
    page.wait_for_function(
        "() => document.querySelectorAll('.jp-CodeCell')[2].innerText.includes('(stopped)')"
    )
    wait_until_idle(page)
    keep(page, "notebook-cancelled")

    execute(page, "docmanager:save")
    page.wait_for_function("() => !document.querySelector('.jp-mod-dirty')")
    page.reload()
    page.wait_for_selector(".lingos-top")
    page.wait_for_function(
        "() => document.querySelectorAll('.jp-CodeCell')[1].innerText.includes('Paris')"
    )
    before = page.locator(".lingos-top .facts").inner_text()
    page.wait_for_function(
        "before => document.querySelector('.lingos-top .facts').innerText !== before", arg=before
    )
