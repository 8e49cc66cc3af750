"""The animated demonstration is what the program draws today."""

from __future__ import annotations

import runpy
import xml.etree.ElementTree as ET
from pathlib import Path

ROOT = Path(__file__).parents[2]


async def test_the_demonstration_is_current() -> None:
    """`python docs/demonstration.py` would change nothing; it is small, and moves."""
    script = runpy.run_path(str(ROOT / "docs" / "demonstration.py"), run_name="demonstration")
    drawn = script["animated"](await script["record"]())
    kept = script["FILE"].read_text(encoding="utf-8")
    assert drawn == kept, "look at it and run: python docs/demonstration.py"
    assert len(kept.encode()) < 1_000_000
    root = ET.fromstring(kept)
    assert root.findall(".//{http://www.w3.org/2000/svg}animate")
