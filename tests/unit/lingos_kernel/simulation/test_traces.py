"""Reading recorded arrivals."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lingos_kernel.errors import InvalidArguments
from lingos_kernel.simulation.traces import read_trace


def test_reads_dates_and_token_counts(tmp_path: Path) -> None:
    """Arrivals count from the first one, whatever the digits of its date."""
    path = tmp_path / "trace.csv"
    path.write_text(
        "TIMESTAMP,ContextTokens,GeneratedTokens\n"
        "2023-11-16 18:15:46.6805900,374,44\n"
        "2023-11-16 18:15:50.9951690,396,0\n"
    )
    first, second = read_trace(path)
    assert (first.arrival_s, first.prompt_tokens, first.output_tokens) == (0.0, 374, 44)
    assert second.arrival_s == pytest.approx(4.314579)
    assert second.output_tokens == 1
    assert len(read_trace(path, limit=1)) == 1


def test_finds_the_turns_of_a_conversation(tmp_path: Path) -> None:
    """A request that begins with all whole blocks of an earlier one goes on with it."""
    lines = [
        {"timestamp": 1000, "hash_ids": [0, 1, 2, 3]},
        {"timestamp": 2000, "hash_ids": [0, 7, 8, 9]},
        {"timestamp": 3000, "hash_ids": [0, 1, 2, 4, 5]},
        {"timestamp": 4000, "hash_ids": [0]},
    ]
    path = tmp_path / "trace.jsonl"
    path.write_text(
        "\n".join(json.dumps({"input_length": 9, "output_length": 2, **line}) for line in lines)
    )
    first, other, turn, short = read_trace(path)
    assert [r.arrival_s for r in (first, other, turn, short)] == [0.0, 1.0, 2.0, 3.0]
    assert (turn.program, turn.follows, turn.shared_tokens) == (first.program, "0", 3 * 512)
    assert other.program != first.program
    assert other.follows is short.follows is None


@pytest.mark.parametrize("text", ["TIMESTAMP,ContextTokens\nx,1\n", "a\n1\n"])
def test_what_is_no_trace_is_refused(tmp_path: Path, text: str) -> None:
    """With the file and the line."""
    path = tmp_path / "trace.csv"
    path.write_text(text)
    with pytest.raises(InvalidArguments, match="request 1 cannot be read"):
        read_trace(path)
