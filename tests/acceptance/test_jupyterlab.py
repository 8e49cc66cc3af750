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
    from playwright.sync_api import Locator, Page

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
    "%%chat --max-tokens 120 --ignore-eos true\nWrite a very long story about a cat.",
    "/last",
    "print(*(view.is_live for view in get_ipython().kernel.views.values()))",
)
CONFIGURATION = """
c = get_config()
c.ServerApp.port = 0
c.ServerApp.open_browser = False
c.ServerApp.allow_root = True
c.IdentityProvider.token = ""
c.LabApp.expose_app_in_browser = True
c.JupyterNotebookApp.expose_app_in_browser = True
"""


@pytest.fixture(params=["jupyterlab"])
def server(
    request: pytest.FixtureRequest,
    tmp_path: Path,
    model_store: ModelStore,
    default_model: StoredModel,
) -> Iterator[str]:
    """The address of a JupyterLab whose folder holds `demo.ipynb`; all of it in a fresh home.

    Of another front end, when the test names its module.
    """
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
        [sys.executable, "-m", request.param, f"--config={home / 'config.py'}"],
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
        assert line, f"{request.param} ended: {log}"
        log += line
        address = re.search(r"http://(?:localhost|127\.0\.0\.1):\d+(?=/lab|/tree)", line)
    drain = subprocess.Popen(["cat"], stdin=process.stderr, stdout=subprocess.DEVNULL)
    yield address[0]
    process.terminate()
    process.wait(30)
    drain.wait(30)
    process.stderr.close()
    subprocess.run([*LINGOS, "kernel", "stop"], env=clean, check=True, capture_output=True)


@pytest.fixture
def browser_page() -> Iterator[Page]:
    """An empty page of a browser."""
    with playwright.sync_playwright() as tools:
        browser = tools.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1280, "height": 1000})
        page.set_default_timeout(WAIT_MS)
        page.on("dialog", lambda dialog: dialog.accept())  # to leave without saving
        yield page
        browser.close()


@pytest.fixture
def page(server: str, browser_page: Page) -> Page:
    """A browser that shows the notebook."""
    browser_page.goto(f"{server}/lab/tree/demo.ipynb?reset")
    browser_page.wait_for_selector(".jp-Notebook .jp-CodeCell")
    wait_until_idle(browser_page)
    execute(browser_page, "application:toggle-left-area")
    return browser_page


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


def cell(page: Page, number: int) -> Locator:
    """A cell of the notebook."""
    return page.locator(".jp-CodeCell").nth(number)


def run_cell(page: Page, number: int) -> None:
    """Run one cell, as a person does."""
    cell(page, number).locator(".jp-InputPrompt").click()
    page.keyboard.press("Control+Enter")


def test_an_answer_outlives_the_page_that_asked(page: Page) -> None:
    """A page that is loaded again in the middle of an answer can show all of it: /last."""
    run_cell(page, 3)
    answer = cell(page, 3).locator(".jp-OutputArea-output").first
    answer.wait_for()
    before = answer.inner_text()
    page.reload()
    page.wait_for_selector(".jp-Notebook .jp-CodeCell")
    page.wait_for_function("() => /LingOS .Python. . (Idle|Busy)/.test(document.body.innerText)")
    run_cell(page, 4)
    again = cell(page, 4).locator(".jp-OutputArea-output").first
    again.wait_for()
    keep(page, "notebook-reloaded")
    wait_until_idle(page)
    assert again.inner_text().startswith(before[:20])
    assert len(again.inner_text()) > len(before)


@pytest.mark.parametrize("server", ["notebook"], indirect=True)
def test_notebook_7_shows_answers_and_the_live_view(server: str, browser_page: Page) -> None:
    """Notebook 7 runs cells, shows the view changing, and ends it with its output."""
    page = browser_page
    page.goto(f"{server}/notebooks/demo.ipynb")
    page.wait_for_selector(".jp-Notebook .jp-CodeCell")
    page.wait_for_selector(".jp-Notebook-ExecutionIndicator[data-status=idle]")
    run_cell(page, 1)
    cell(page, 1).locator(".jp-OutputArea-output", has_text="Paris").wait_for()
    run_cell(page, 0)
    page.wait_for_selector(".lingos-top")
    before = page.locator(".lingos-top .facts").inner_text()
    page.wait_for_function(
        "before => document.querySelector('.lingos-top .facts').innerText !== before", arg=before
    )
    run_cell(page, 5)
    cell(page, 5).locator(".jp-OutputArea-output", has_text="True").wait_for()
    execute(page, "notebook:clear-all-cell-outputs")
    page.wait_for_selector(".lingos-top", state="detached")
    run_cell(page, 5)
    cell(page, 5).locator(".jp-OutputArea-output", has_text="False").wait_for()
