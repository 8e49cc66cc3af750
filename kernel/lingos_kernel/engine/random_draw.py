"""Random draws that depend on (seed, choice, position) and nothing else.

A draw is one 64-bit number from a keyed hash and an exact search in integer weights, so the
result does not depend on batch-mates, on the order of evaluation, or on how a device adds up.
"""

from __future__ import annotations

import hashlib
import struct

import torch

WEIGHT_BITS = 40
"""The likeliest token weighs 2**40; tokens 2**-41 as likely as it are never drawn.

Sums stay exact in int64 for vocabularies up to 2**23.
"""

_WORD = (1 << 64) - 1


def random_bits(seed: int, choice: int, position: int) -> int:
    """64 uniform bits, the same for the same key on every machine.

    BLAKE2b over the key is a counter-based generator: it has no state to carry along, and at
    about one microsecond it is cheaper than setting up numpy's Philox for one number.
    """
    key = struct.pack("<QQQ", seed & _WORD, choice & _WORD, position & _WORD)
    return int.from_bytes(hashlib.blake2b(key, digest_size=8).digest(), "little")


def integer_weights(distance: torch.Tensor) -> torch.Tensor:
    """exp(-distance) in units of 2**-40. distance: [R, V] float32 >= 0; result: int64."""
    return distance.neg().exp_().mul_(float(1 << WEIGHT_BITS)).to(torch.int64)


def draw(weights: torch.Tensor, bits: list[int]) -> torch.Tensor:
    """One index per row, with probability proportional to its weight.

    weights: [R, V] int64, no row all zero; bits: R numbers of `random_bits`. Result: [R].
    """
    cumulative = weights.cumsum(-1)
    totals = cumulative[:, -1].tolist()
    targets = [(number * total) >> 64 for number, total in zip(bits, totals, strict=True)]
    wanted = torch.tensor(targets, dtype=torch.int64, device=weights.device)
    return torch.searchsorted(cumulative, wanted[:, None], right=True).squeeze(1)


def keep_nucleus(
    weights: torch.Tensor, distance: torch.Tensor, shares: torch.Tensor
) -> torch.Tensor:
    """Zero the weights outside each row's nucleus, in place; returns `weights`.

    The nucleus holds the likeliest tokens until they have the row's share (0 to 1) of its
    weight; tokens as likely as its last one belong to it too. weights, distance: [R, V];
    shares: [R] float64. Exact, without a sort: a radix search over the bits of the distance,
    which order non-negative floats as they order integers.
    """
    keys = distance.contiguous().view(torch.int32)
    totals = weights.sum(-1)
    targets = (totals * shares).ceil().to(torch.int64).clamp_(min=1).minimum(totals)[:, None]
    before = torch.zeros_like(targets)
    last = torch.zeros_like(targets, dtype=torch.int32)
    for shift, bits in ((16, 15), (0, 16)):
        digits = ((keys >> shift) & ((1 << bits) - 1)).to(torch.int64)
        inside = weights if shift == 16 else weights * ((keys >> 16) == last)
        mass = weights.new_zeros(len(weights), 1 << bits).scatter_add_(1, digits, inside)
        cumulative = mass.cumsum_(-1).add_(before)
        bucket = torch.searchsorted(cumulative, targets)
        reached = cumulative.gather(1, (bucket - 1).clamp_(min=0))
        before = torch.where(bucket > 0, reached, before)
        last = (last << bits) | bucket.to(torch.int32)
    return weights.mul_(keys <= last)
