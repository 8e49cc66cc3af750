"""What the sampler must know about one sequence."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch

from lingos_kernel.engine.grammar import GrammarMatcher
from lingos_kernel.engine.messages import SamplingParams

_COLDEST = 1e-5
"""Below this temperature, float32 has nothing left to draw from."""


@dataclass(slots=True)
class SamplingRow:
    """One sequence, whose next token is to be chosen.

    Make one per sequence and keep it: `output_ids` is read anew at each step, so pass the
    sequence's own growing list.
    """

    params: SamplingParams
    prompt_ids: Sequence[int]
    output_ids: Sequence[int]
    choice: int = 0
    matcher: GrammarMatcher | None = None
    eos_ids: frozenset[int] = frozenset()
    position: int | None = None
    """Index of the output token to choose; None: the length of output_ids."""
    _prompt: torch.Tensor | None = field(default=None, repr=False, compare=False)

    @property
    def draw_position(self) -> int:
        """The position that keys the random draw."""
        return len(self.output_ids) if self.position is None else self.position

    @property
    def forbidden_ids(self) -> frozenset[int]:
        """The tokens that would end the sequence before it has min_tokens."""
        if len(self.output_ids) >= self.params.min_tokens:
            return frozenset()
        return self.eos_ids | set(self.params.stop_token_ids)

    @property
    def is_ruled(self) -> bool:
        """Whether anything changes the model's logits before the choice."""
        params = self.params
        return bool(
            self.matcher is not None
            or params.repetition_penalty != 1.0
            or params.presence_penalty
            or params.frequency_penalty
            or params.logit_bias
            or len(self.output_ids) < params.min_tokens
        )

    @property
    def is_greedy(self) -> bool:
        """Whether the likeliest token is taken, without a draw."""
        return self.params.temperature < _COLDEST

    def prompt_tensor(self, device: torch.device) -> torch.Tensor:
        """The prompt's token ids on a device, made once."""
        if self._prompt is None or self._prompt.device != device:
            self._prompt = torch.tensor(list(self.prompt_ids), dtype=torch.int64, device=device)
        return self._prompt
