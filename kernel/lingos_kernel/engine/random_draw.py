"""Random draws that depend on (seed, choice, position) and nothing else.

A draw is a race: each token gets a random arrival time that its weight divides, and the first one
wins (the Gumbel-max trick). So the result does not depend on batch-mates, and hardly on how a
device adds up: a token's own weight moves its own arrival, while in a cumulative sum the last bits
of all weights before it would move the place where it is looked for. Computed again from its
tokens, a sequence draws the same; where its logits are equal up to rounding only, unless two tokens
arrive within that.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Sequence

import numpy as np
import torch

WEIGHT_BITS = 40
"""The likeliest token weighs 2**40; tokens 2**-41 as likely as it are never drawn.

Sums stay exact in int64 for vocabularies up to 2**22.
"""

_WORD = (1 << 64) - 1
_STEP, _MIX_1, _MIX_2 = (
    value - (1 << 64) for value in (0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB)
)
"""SplitMix64 (Steele, Lea and Flood 2014), as signed words."""
_ROWS = 64
"""Rows that race at a time on a GPU; on a CPU it is one, and what it needs stays in the cache."""


def random_bits(seed: int, choice: int, position: int) -> int:
    """64 uniform bits, the same for the same key on every machine.

    BLAKE2b over the key is a counter-based generator: it has no state to carry along, and at
    about one microsecond it is cheaper than setting up numpy's Philox for one number.
    """
    key = struct.pack("<QQQ", seed & _WORD, choice & _WORD, position & _WORD)
    return int.from_bytes(hashlib.blake2b(key, digest_size=8).digest(), "little")


def integer_weights(distance: torch.Tensor, out: torch.Tensor) -> torch.Tensor:
    """exp(-distance) in units of 2**-40, into `out`; destroys `distance`.

    distance: [R, V] float32 >= 0, infinite for tokens that must not come; out: [R, V] int64.
    """
    return out.copy_(distance.neg_().exp_().mul_(float(1 << WEIGHT_BITS)))


def keep_top_k(weights: torch.Tensor, counts: Sequence[int]) -> None:
    """Zero all but the k heaviest weights of each row, in place; ties with the last one stay.

    weights: [R, V] int64; counts: k of each row, where 0 keeps all.
    """
    limited = [row for row, k in enumerate(counts) if 0 < k < weights.shape[-1]]
    if limited:
        most = max(counts[row] for row in limited)
        heaviest = _select(weights, limited).topk(most).values
        last = torch.tensor([[counts[row] - 1] for row in limited], device=weights.device)
        floors = heaviest.gather(1, last).squeeze(1).tolist()
        _keep_heavy(weights, dict(zip(limited, floors, strict=True)))


def keep_top_p(weights: torch.Tensor, shares: Sequence[float]) -> None:
    """Zero all but each row's nucleus, in place.

    The nucleus holds the heaviest tokens until they have the row's share of all weight; tokens
    as heavy as its last one belong to it too. weights: [R, V] int64; shares: 1.0 keeps all.
    """
    limited = [row for row, share in enumerate(shares) if share < 1.0]
    if limited:
        some = _select(weights, limited)
        totals = some.sum(-1, keepdim=True)
        share = torch.tensor([[shares[row]] for row in limited], dtype=torch.float64)
        needed = (totals * share.to(totals.device)).ceil().to(torch.int64)
        needed = needed.clamp_(min=1).minimum(totals)
        floors = _nucleus_floors(some, totals, needed)
        _keep_heavy(weights, dict(zip(limited, floors, strict=True)))


def keep_min_p(weights: torch.Tensor, shares: Sequence[float]) -> None:
    """Zero the weights below the share of the heaviest possible weight, in place."""
    floors = {row: int(share * (1 << WEIGHT_BITS)) for row, share in enumerate(shares) if share}
    _keep_heavy(weights, floors)


def draw(weights: torch.Tensor, bits: Sequence[int]) -> torch.Tensor:
    """One index per row, with probability proportional to its weight.

    weights: [R, V] int64, no row all zero; bits: R numbers of `random_bits`. Result: [R].
    """
    signed = [number - (1 << 64) if number >> 63 else number for number in bits]
    states = torch.tensor(signed, dtype=torch.int64, device=weights.device)[:, None]
    stream = torch.arange(1, weights.shape[-1] + 1, device=weights.device) * _STEP
    rows = 1 if weights.device.type == "cpu" else _ROWS
    groups = zip(torch.split(weights, rows), torch.split(states, rows), strict=True)
    return torch.cat([_first(some, _uniform(stream + state)) for some, state in groups])


def _uniform(state: torch.Tensor) -> torch.Tensor:
    """Numbers between 0 and 1 in steps of 2**-52, from states of SplitMix64; destroys `state`."""
    for shift, factor in ((30, _MIX_1), (27, _MIX_2), (31, None)):
        state ^= (state >> shift) & (_WORD >> shift)  # torch shifts the sign in
        if factor is not None:
            state *= factor
    return (state >> 12 & (1 << 52) - 1).to(torch.float64).add_(0.5).mul_(2.0**-52)


def _first(weights: torch.Tensor, uniform: torch.Tensor) -> torch.Tensor:
    """Who arrives first, at an exponentially distributed time divided by its weight.

    The times are negative here: the first one is the greatest, and without weight it is never.
    """
    return uniform.neg_().log1p_().div_(weights).argmax(-1)


def _select(weights: torch.Tensor, rows: list[int]) -> torch.Tensor:
    return weights if len(rows) == len(weights) else weights[rows]


def _keep_heavy(weights: torch.Tensor, floors: dict[int, int]) -> None:
    """Zero weights below the floor of their row; unlike masks, this is one vectorised pass."""
    for row, floor in floors.items():
        torch.threshold_(weights[row], floor - 1, 0)


def _nucleus_floors(weights: torch.Tensor, totals: torch.Tensor, needed: torch.Tensor) -> list[int]:
    """The lightest weight of each row's nucleus.

    Only candidates are sorted: tokens lighter than `spare` weigh less, all together, than what
    the nucleus may leave out. For a language model that is most of the vocabulary.
    """
    spare = (totals - needed).div_(weights.shape[-1], rounding_mode="floor").clamp_(min=1)
    find = _floors_by_sort if weights.device.type == "cpu" else _floors_by_topk
    return find(weights, spare, needed)


def _floors_by_sort(weights: torch.Tensor, spare: torch.Tensor, needed: torch.Tensor) -> list[int]:
    floors = []
    rows = zip(weights.numpy(), spare.tolist(), needed.tolist(), strict=True)
    for row, [least], [need] in rows:
        heaviest = np.sort(row[row >= least])[::-1]
        last = np.searchsorted(heaviest.cumsum(), need)
        floors.append(int(heaviest[last]) if len(heaviest) else 1)
    return floors


def _floors_by_topk(weights: torch.Tensor, spare: torch.Tensor, needed: torch.Tensor) -> list[int]:
    candidates = int((weights >= spare).sum(-1).max())
    heaviest = weights.topk(max(candidates, 1)).values
    last = torch.searchsorted(heaviest.cumsum(-1), needed)
    floors: list[int] = heaviest.gather(1, last).squeeze(1).tolist()
    return floors
