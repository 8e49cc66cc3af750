"""How many prompt tokens a step may take, so that those who decode keep their pace."""

from __future__ import annotations

from collections.abc import Sequence

from lingos_kernel.scheduling.batcher import Allowance
from lingos_kernel.scheduling.least_squares import NormalEquations
from lingos_kernel.scheduling.policy import Work

REMEMBERED_STEPS = 200
"""About so many steps count: enough for a fit, few enough to follow a machine that slows down."""
LEARNING_STEPS = 16
"""Steps before the first fit; until then prefill gets all that the batch takes."""
URGENT_PACE = 1.5
"""How much longer a step with an urgent prompt may last for the sake of less urgent work."""
OUTLIER = 4.0
"""A step counts as at most so many times longer than foreseen: a hiccup is no trend."""


class StepBudget:
    """Fits step time = base + per row * decode rows + per token * prefill tokens as steps go by.

    A step with prefill may last `pace` times as long as one that only decodes. Nobody who decodes
    is spared that is less urgent than every prompt: then it is the prompt that is, and what is
    less urgent may make its step `URGENT_PACE` times as long as it would be without.
    """

    def __init__(self, *, max_tokens: int, min_prefill_tokens: int = 32, pace: float = 3.0) -> None:
        """`max_tokens` is for prefill and decode together."""
        self._max_tokens = max_tokens
        self._min_prefill_tokens = min_prefill_tokens
        self._pace = pace
        self._equations = NormalEquations(3)
        self._steps = 0
        self._base_s = self._row_s = self._token_s = 0.0

    @property
    def is_fitted(self) -> bool:
        """Whether it has seen enough steps to foresee one."""
        return self._steps >= LEARNING_STEPS

    def observe(self, decode_rows: int, prefill_tokens: int, step_s: float) -> None:
        """Take in how long a step took."""
        if step_s <= 0:
            return  # a clock too coarse to tell
        if self.is_fitted and (foreseen_s := self.step_s(decode_rows, prefill_tokens)) > 0:
            step_s = min(step_s, OUTLIER * foreseen_s)
        self._equations.fade(1 - 1 / REMEMBERED_STEPS)
        self._equations.add((1.0, decode_rows, prefill_tokens), step_s)
        self._steps += 1
        if self.is_fitted:
            self._base_s, self._row_s, self._token_s = self._equations.solve()

    def step_s(self, decode_rows: int, prefill_tokens: int) -> float:
        """How long such a step will take, as far as is known."""
        return self._base_s + self._row_s * decode_rows + self._token_s * prefill_tokens

    def allowance(self, running: Sequence[Work]) -> Allowance:
        """Tokens for the next step of these."""
        prefilling = [work for work in running if work.remaining > 1]
        if not prefilling:
            return Allowance(self._max_tokens)
        decoding = [work.priority for work in running if work.remaining == 1]
        urgent_class = min([work.priority for work in prefilling])
        tokens, rows = self._max_tokens, len(decoding)
        if decoding and urgent_class >= min(decoding):
            tokens = min(rows + self.prefill_tokens(rows), tokens)
        if urgent_class >= max([work.priority for work in running]):
            return Allowance(tokens)
        less_urgent_rows = sum([priority > urgent_class for priority in decoding])
        urgent_rows = rows - less_urgent_rows
        prompt = sum([work.remaining for work in prefilling if work.priority == urgent_class])
        prompt = min(prompt, tokens - urgent_rows)
        return Allowance(tokens, self._beside(urgent_rows, prompt, less_urgent_rows))

    def prefill_tokens(self, decode_rows: int) -> int:
        """Prompt tokens that keep a step with so many decode rows within its pace."""
        if not self.is_fitted or not self._token_s:
            return self._max_tokens
        spare_s = (self._pace - 1) * self.step_s(decode_rows, 0)
        return max(int(spare_s / self._token_s), self._min_prefill_tokens)

    def _beside(self, urgent_rows: int, prompt_tokens: int, rows: int) -> int:
        """Tokens of less urgent work, so many of them rows, beside a prompt and urgent rows."""
        if not self.is_fitted or not self._token_s:
            return self._max_tokens
        spare_s = (URGENT_PACE - 1) * self.step_s(urgent_rows, prompt_tokens)
        if self._row_s * rows > spare_s:
            return int(spare_s / self._row_s)
        return rows + int((spare_s - self._row_s * rows) / self._token_s)
