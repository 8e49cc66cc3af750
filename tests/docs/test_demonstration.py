"""The animated demonstration is drawn by the program."""

from __future__ import annotations

import runpy
import xml.etree.ElementTree as ET
from pathlib import Path

ROOT = Path(__file__).parents[2]


async def test_the_demonstration_can_be_drawn() -> None:
    """`python docs/demonstration.py` plays to its end; what it draws and what is kept move.

    Not compared to the letter: how much of an answer streams into a frame is a matter of time.
    """
    script = runpy.run_path(str(ROOT / "docs" / "demonstration.py"), run_name="demonstration")
    drawn = script["animated"](await script["record"]())
    kept = script["FILE"].read_text(encoding="utf-8")
    assert len(kept.encode()) < 1_000_000
    for text in (drawn, kept):
        assert ET.fromstring(text).findall(".//{http://www.w3.org/2000/svg}animate")
