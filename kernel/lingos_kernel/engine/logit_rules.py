"""The rules that change one row of logits before a token is chosen, in their fixed order."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

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
        inside = {id_: value for id_, value in bias.items() if 0 <= id_ < len(logits)}
        logits[_ids(inside, logits)] += torch.tensor(list(inside.values()), device=logits.device)


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
    under_grammar = [index for index, row in enumerate(rows) if row.matcher is not None]
    for index, row in enumerate(rows):
        if row.matcher is None and row.forbidden_ids:
            logits[index, _ids(row.forbidden_ids, logits)] = _FORBIDDEN
    if under_grammar:
        allowed = _allowed([rows[index] for index in under_grammar], logits.shape[-1])
        forbidden = torch.from_numpy(~allowed).to(logits.device)
        for index, row_forbidden in zip(under_grammar, forbidden, strict=True):
            logits[index].masked_fill_(row_forbidden, _FORBIDDEN)


def _allowed(rows: Sequence[SamplingRow], vocabulary: int) -> NDArray[np.bool_]:
    """[R, V]: what each row's grammar allows, less what ends it too early.

    Where the grammar allows nothing but an end that comes too early, the grammar wins.
    """
    masks = new_masks(len(rows), vocabulary)
    fill_masks([row.matcher for row in rows if row.matcher is not None], masks)
    bits = np.unpackbits(masks.view(np.uint8), axis=1, bitorder="little")
    allowed = bits[:, :vocabulary].view(np.bool_)
    for row, row_allowed in zip(rows, allowed, strict=True):
        if row.forbidden_ids:
            later = row_allowed.copy()
            later[[id_ for id_ in row.forbidden_ids if id_ < vocabulary]] = False
            if later.any():
                row_allowed[:] = later
    return allowed


def _ids(ids: object, logits: torch.Tensor) -> torch.Tensor:
    return torch.tensor(list(ids), dtype=torch.int64, device=logits.device)  # type: ignore[call-overload]
