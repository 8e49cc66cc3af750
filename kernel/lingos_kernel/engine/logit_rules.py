"""The rules that change one row of logits before a token is chosen, in their fixed order."""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Iterable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from lingos_kernel.engine.grammar import fill_masks, new_masks
from lingos_kernel.engine.sampling_row import SamplingRow

_FORBIDDEN = float("-inf")


def apply_rules(logits: torch.Tensor, rows: Sequence[SamplingRow]) -> None:
    """Logit bias, penalties, grammar mask, min-tokens mask; in place. logits: [R, V]."""
    for row, row_logits in zip(rows, logits, strict=True):
        _add_bias(row_logits, row)
        _penalize_repetition(row_logits, row)
        _penalize_output(row_logits, row)
    _mask(logits, rows)


def _add_bias(logits: torch.Tensor, row: SamplingRow) -> None:
    bias = row.params.logit_bias
    if bias:
        ids = _within(bias, len(logits))
        logits[_ids(ids, logits)] += torch.tensor([bias[id_] for id_ in ids], device=logits.device)


def _penalize_repetition(logits: torch.Tensor, row: SamplingRow) -> None:
    """Divide positive logits of seen tokens, multiply negative ones."""
    penalty = row.params.repetition_penalty
    if penalty != 1.0:
        seen = torch.cat((row.prompt_tensor(logits.device), _ids(row.output_ids, logits)))
        values = logits[seen]
        logits[seen] = torch.where(values > 0, values / penalty, values * penalty)


def _penalize_output(logits: torch.Tensor, row: SamplingRow) -> None:
    params = row.params
    if (params.presence_penalty or params.frequency_penalty) and row.output_ids:
        counts = Counter(row.output_ids)
        numbers = torch.tensor(list(counts.values()), dtype=logits.dtype, device=logits.device)
        logits[_ids(counts, logits)] -= params.presence_penalty + numbers * params.frequency_penalty


def _mask(logits: torch.Tensor, rows: Sequence[SamplingRow]) -> None:
    for row_logits, row in zip(logits, rows, strict=True):
        if row.matcher is None and row.forbidden_ids:
            row_logits[_ids(_within(row.forbidden_ids, logits.shape[-1]), logits)] = _FORBIDDEN
    ruled = [index for index, row in enumerate(rows) if row.matcher is not None]
    if ruled:
        bytes_ = torch.from_numpy(_masks([rows[i] for i in ruled], logits.shape[-1]).view(np.uint8))
        table = torch.from_numpy(_byte_to_biases()).to(logits.device)
        biases = torch.nn.functional.embedding(bytes_.to(logits.device, torch.int32), table)
        for index, row_biases in zip(ruled, biases, strict=True):
            logits[index] += row_biases.view(-1)[: logits.shape[-1]]


def _masks(rows: Sequence[SamplingRow], vocabulary: int) -> NDArray[np.int32]:
    """Bit masks of what each row's grammar allows, less what ends it too early.

    Where the grammar allows nothing but an end that comes too early, the grammar wins.
    """
    masks = new_masks(len(rows), vocabulary)
    fill_masks([row.matcher for row in rows if row.matcher is not None], masks)
    for row, mask in zip(rows, masks, strict=True):
        if row.forbidden_ids:
            later = mask.copy()
            for id_ in _within(row.forbidden_ids, vocabulary):
                later.view(np.uint8)[id_ // 8] &= ~np.uint8(1 << (id_ % 8))
            if later.any():
                mask[:] = later
    return masks


@functools.cache
def _byte_to_biases() -> NDArray[np.float32]:
    """[256, 8]: what to add to 8 logits for each byte of a mask; 0 or -infinity."""
    bits = np.unpackbits(np.arange(256, dtype=np.uint8)[:, None], axis=1, bitorder="little")
    return np.where(bits == 1, np.float32(0), np.float32(_FORBIDDEN))


def _within(ids: Iterable[int], vocabulary: int) -> list[int]:
    return [id_ for id_ in ids if 0 <= id_ < vocabulary]


def _ids(ids: Iterable[int], logits: torch.Tensor) -> torch.Tensor:
    return torch.tensor(list(ids), dtype=torch.int64, device=logits.device)
