"""Numbers in few columns, as the scheduler pane shows them."""

from __future__ import annotations


def short_bytes(count: float) -> str:
    """A size in at most 5 cells: 812M, 1.3G, 24G; "-" for none."""
    if count <= 0:
        return "-"
    for unit in ("B", "K", "M", "G"):
        if count < 999.5:
            return f"{count:.1f}{unit}" if count < 9.95 and unit in "MG" else f"{count:.0f}{unit}"
        count /= 1024
    return f"{count:.1f}T" if count < 99.95 else f"{count:.0f}T"


def short_count(count: float) -> str:
    """A count in at most 5 cells: 812, 1.2k, 48k, 3.4M; "-" for none."""
    if count <= 0:
        return "-"
    for unit in ("", "k", "M"):
        if count < 999.5:
            return f"{count:.1f}{unit}" if unit and count < 9.95 else f"{count:.0f}{unit}"
        count /= 1000
    return f"{count:.1f}B" if count < 99.95 else f"{count:.0f}B"


def rate(per_s: float) -> str:
    """Tokens per second: 41.2, 182, 1.2k; "-" for none."""
    if per_s <= 0:
        return "-"
    return f"{per_s:.1f}" if per_s < 99.95 else short_count(per_s)


def seconds(value: float | None) -> str:
    """A short time: 85ms, 1.2s, 14s, 3:20; "-" where there is none."""
    if value is None or value <= 0:
        return "-"
    if value < 0.9995:
        return f"{value * 1000:.0f}ms"
    if value < 9.95:
        return f"{value:.1f}s"
    return f"{value:.0f}s" if value < 99.5 else clock(value)


def clock(value: float) -> str:
    """How long something runs: 0:12, 14:05, 3:02:10, 4d06h."""
    minutes, second = divmod(int(value), 60)
    hours, minute = divmod(minutes, 60)
    days, hour = divmod(hours, 24)
    if days:
        return f"{days}d{hour:02d}h"
    return f"{hours}:{minute:02d}:{second:02d}" if hours else f"{minute}:{second:02d}"


def percent(share: float | None) -> str:
    """A share of one: 61 %."""
    return "-" if share is None else f"{share * 100:.0f} %"
