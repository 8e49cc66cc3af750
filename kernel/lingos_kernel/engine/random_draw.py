"""Random draws that depend on (seed, choice, position) and nothing else.

A draw is one 64-bit number from a keyed hash and an exact search in integer weights, so the
result does not depend on batch-mates, on the order of evaluation, or on how a device adds up.
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
    """One index per row, with probability proportional to its weight; destroys `weights`.

    weights: [R, V] int64, no row all zero; bits: R numbers of `random_bits`. Result: [R].
    """
    cumulative = weights.cumsum_(-1)
    totals = cumulative[:, -1].tolist()
    targets = [(number * total) >> 64 for number, total in zip(bits, totals, strict=True)]
    wanted = torch.tensor(targets, dtype=torch.int64, device=weights.device)
    return torch.searchsorted(cumulative, wanted[:, None], right=True).squeeze(1)


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
