"""The input of one forward pass: parts of several sequences, packed as one row of tokens."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from lingos_kernel.memory.pages import PAGE_SLOTS


@dataclass(frozen=True, slots=True)
class Part:
    """What one sequence computes in a step."""

    token_ids: Sequence[int]
    start: int
    """Position of the first token; the ones before it are in the cache."""
    pages: Sequence[int]
    """The sequence's pages from position 0 on; they cover all positions of this part."""
    logits_from: int
    """Tokens from this offset on need logits; len(token_ids): none does."""

    @property
    def end(self) -> int:
        """Position after the last token."""
        return self.start + len(self.token_ids)


@dataclass(frozen=True, slots=True)
class Chunk:
    """Where a part of more than one token lies in the packed row."""

    offset: int
    part: Part


@dataclass(frozen=True, slots=True)
class PackedBatch:
    """Tensors of one forward pass. Parts of one token come first; T tokens, R rows of logits."""

    input_ids: Tensor
    """[1, T]"""
    position_ids: Tensor
    """[1, T]"""
    slots: Tensor
    """[T]: where each token's keys and values are stored."""
    logit_rows: Tensor
    """[R]: indices into T."""
    singles: tuple[Part, ...]
    chunks: tuple[Chunk, ...]
    spare: int = 0
    """So many rows at the end of T repeat the last one; they are stored over it, as the same."""

    @classmethod
    def pack(
        cls, parts: Sequence[Part], device: torch.device, *, least_rows: int = 1
    ) -> PackedBatch:
        """Pack parts in their order; those of one token must come first.

        T, and R when any logits are asked for, are filled up to `least_rows`.
        """
        ids: list[int] = []
        positions: list[int] = []
        slots: list[int] = []
        rows: list[int] = []
        chunks: list[Chunk] = []
        for part in parts:
            offset, count = len(ids), len(part.token_ids)
            if count > 1:
                chunks.append(Chunk(offset, part))
            else:
                assert not chunks, "parts of one token come first"
            ids += part.token_ids
            positions += range(part.start, part.end)
            slots += _slots(part)
            rows += range(offset + part.logits_from, offset + count)
        spare = max(least_rows - len(ids), 0)
        for column in (ids, positions, slots):
            column += column[-1:] * spare
        rows += rows[-1:] * (least_rows - len(rows))
        packed = torch.tensor([ids, positions, slots], dtype=torch.int64).to(device)
        return cls(
            input_ids=packed[0:1],
            position_ids=packed[1:2],
            slots=packed[2],
            logit_rows=torch.tensor(rows, dtype=torch.int64).to(device),
            singles=tuple(parts[: len(parts) - len(chunks)]),
            chunks=tuple(chunks),
            spare=spare,
        )


def _slots(part: Part) -> list[int]:
    pages = part.pages
    return [
        pages[position // PAGE_SLOTS] * PAGE_SLOTS + position % PAGE_SLOTS
        for position in range(part.start, part.end)
    ]
