"""Hints for names that do not exist."""

from __future__ import annotations

from collections.abc import Iterable


def did_you_mean(wrong: str, known: Iterable[str], *, otherwise: str = "") -> str:
    """A hint with the known names nearest to a wrong one, or `otherwise` when none is near."""
    from difflib import get_close_matches

    folded = {name.lower(): name for name in known}
    near = get_close_matches(wrong.lower(), folded, n=3, cutoff=0.6)
    if not near:
        near = sorted(name for name in folded if wrong and name.endswith(f".{wrong.lower()}"))[:3]
    return f"did you mean {' or '.join(folded[name] for name in near)}?" if near else otherwise
