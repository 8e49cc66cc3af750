"""The pictures of the terminal interface are what it draws today: its snapshot tests."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SCRIPT = runpy.run_path(str(ROOT / "docs" / "screenshots.py"), run_name="screenshots")
PICTURES = {picture.name: picture for picture in SCRIPT["PICTURES"]}


@pytest.mark.parametrize("name", PICTURES)
async def test_the_screen_looks_as_pictured(name: str) -> None:
    """`python docs/screenshots.py` would change nothing."""
    drawn = await SCRIPT["draw"](PICTURES[name])
    kept = (ROOT / "docs" / "images" / f"{name}.svg").read_text(encoding="utf-8")
    assert drawn == kept, f"look at it and run: python docs/screenshots.py {name}"


def test_the_page_shows_each_picture() -> None:
    """No picture is drawn that nobody sees, and none is shown that is not drawn."""
    import re

    page = (ROOT / "docs" / "reference" / "tui.md").read_text(encoding="utf-8")
    shown = set(re.findall(r"\.\./images/([\w-]+)\.svg", page))
    assert shown <= set(PICTURES)
    assert {path.stem for path in (ROOT / "docs" / "images").glob("*.svg")} >= set(PICTURES)


def test_the_page_lists_each_key() -> None:
    """Every key of the pane, with what it does, stands in the reference."""
    from lingos_shell.tui.scheduler.keys import PANE_KEYS

    page = (ROOT / "docs" / "reference" / "tui.md").read_text(encoding="utf-8")
    missing = [key.id for key in PANE_KEYS if key.about not in page or f"`{key.id}`" not in page]
    assert missing == []
