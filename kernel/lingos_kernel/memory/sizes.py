"""Bytes as people write them."""

from __future__ import annotations


def mib(size: float) -> str:
    """So many bytes, in MiB with one decimal."""
    return f"{size / 2**20:.1f} MiB"
