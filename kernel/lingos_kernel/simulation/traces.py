"""Reading recorded arrivals: one request a line, in CSV or JSON lines, known by their fields."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from lingos_kernel.errors import InvalidArguments
from lingos_kernel.simulation.request import SimRequest

BLOCK_TOKENS = 512
"""Prompt tokens that one hash of `hash_ids` stands for."""


def read_trace(path: Path, limit: int | None = None) -> list[SimRequest]:
    """The first `limit` requests of a trace, the first one arriving at 0.

    CSV with TIMESTAMP (a date and time), ContextTokens and GeneratedTokens; or JSON lines with
    timestamp (milliseconds), input_length, output_length and perhaps hash_ids, by which turns of
    one conversation are found. Raises `InvalidArguments` on anything else.
    """
    requests: list[SimRequest] = []
    try:
        for request in _read_json(path) if path.suffix == ".jsonl" else _read_csv(path):
            if limit is not None and len(requests) == limit:
                break
            requests.append(request)
    except (KeyError, ValueError, TypeError) as error:
        raise InvalidArguments(
            f"{path}: request {len(requests) + 1} cannot be read: {error!r}",
            hint="see the fields that a trace must have (docs/reference/scheduling.md)",
        ) from error
    return requests


def _read_csv(path: Path) -> Iterator[SimRequest]:
    with path.open(newline="", encoding="utf-8") as file:
        begin_s: float | None = None
        for number, row in enumerate(csv.DictReader(file)):
            # Microseconds at most: some write more digits than a date can hold.
            stamp_s = datetime.fromisoformat(row["TIMESTAMP"][:26]).timestamp()
            begin_s = stamp_s if begin_s is None else begin_s
            yield SimRequest(
                key=str(number),
                arrival_s=stamp_s - begin_s,
                prompt_tokens=max(int(row["ContextTokens"]), 1),
                output_tokens=max(int(row["GeneratedTokens"]), 1),
            )


def _read_json(path: Path) -> Iterator[SimRequest]:
    conversations = _Conversations()
    with path.open(encoding="utf-8") as file:
        begin_s: float | None = None
        for number, line in enumerate(file):
            row = json.loads(line)
            stamp_s = row["timestamp"] / 1000
            begin_s = stamp_s if begin_s is None else begin_s
            yield SimRequest(
                key=str(number),
                arrival_s=stamp_s - begin_s,
                prompt_tokens=max(int(row["input_length"]), 1),
                output_tokens=max(int(row["output_length"]), 1),
                **conversations.place(str(number), row),
            )


class _Conversations:
    """Finds the turn before: the latest request whose whole blocks this one begins with.

    A hash stands for its block and all before it, so that one hash names a whole beginning.
    """

    def __init__(self) -> None:
        self._ends: dict[int, tuple[str, str, int]] = {}
        """Hash of a request's last whole block: its program, key, and tokens up to there."""

    def place(self, key: str, row: Mapping[str, Any]) -> dict[str, Any]:
        """Program, predecessor and shared tokens of a request."""
        hashes = row.get("hash_ids", [])
        whole = len(hashes) - 1  # the last block may be a part, and the next turn has it whole
        # A single block in common may be a system prompt that many begin with.
        before = next((self._ends[h] for h in reversed(hashes[2:]) if h in self._ends), None)
        program = before[0] if before else key
        if whole > 2:
            self._ends[hashes[whole - 1]] = (program, key, whole * BLOCK_TOKENS)
        if before is None:
            return {"program": program}
        return {"program": program, "follows": before[1], "shared_tokens": before[2]}
