"""The text of a sequence as it grows, cut at its first stop string."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Self

from lingos_kernel.engine.messages import SamplingParams
from lingos_kernel.engine.text_stream import text_stream
from lingos_kernel.models.text_codec import TextCodec


class Detokenizer:
    """Emits whole characters; holds back what may become a stop string.

    The emitted text is the decoded text up to the stop string that is complete first (of two
    that end together, the longer), however the text is split into tokens. Stop strings count
    only in text that comes after the first `min_tokens` tokens. The state follows from the
    tokens alone: pushing them again restores it.
    """

    def __init__(
        self, codec: TextCodec, params: SamplingParams, prompt_ids: Sequence[int] = ()
    ) -> None:
        self._stream = text_stream(codec, prompt_ids)
        self._stops = tuple(stop for stop in params.stop if stop)
        self._min_tokens = params.min_tokens
        self._tokens = 0
        self._held = ""  # a proper prefix of a stop string
        self._stopped = False

    @property
    def is_stopped(self) -> bool:
        """Whether a stop string has ended the text."""
        return self._stopped

    def push(self, token_id: int) -> tuple[str, bool]:
        """The text to emit after this token, and whether a stop string ended the text.

        Push every token, except one that ends the sequence (EOS, a stop token).
        """
        if self._stopped:
            return "", True
        self._tokens += 1
        return self._emit(self._stream.push(token_id)), self._stopped

    def finish(self) -> str:
        """What was held back; call once, at the end. Empty after a stop string."""
        if self._stopped:
            return ""
        text = self._emit(self._stream.finish())
        held, self._held = self._held, ""
        return text + held

    def fork(self) -> Self:
        """A copy that goes on by itself."""
        other = copy.copy(self)
        other._stream = self._stream.fork()
        return other

    def _emit(self, new: str) -> str:
        """The part of held and new text that is safe to emit; sets `_held`, `_stopped`."""
        if not self._stops or self._tokens <= self._min_tokens:
            return new
        text = self._held + new
        self._held = ""
        end = first_stop(text, self._stops)
        if end is not None:
            self._stopped = True
            return text[:end]
        safe = len(text) - _longest_open_stop(text, self._stops)
        self._held = text[safe:]
        return text[:safe]


def first_stop(text: str, stops: Sequence[str]) -> int | None:
    """Where the stop string that is complete first begins; None when there is none."""
    found = [(start + len(stop), start) for stop in stops if (start := text.find(stop)) >= 0]
    return min(found)[1] if found else None


def _longest_open_stop(text: str, stops: Sequence[str]) -> int:
    """The length of the longest end of the text that is a proper beginning of a stop string."""
    longest = 0
    for stop in stops:
        for length in range(min(len(stop) - 1, len(text)), longest, -1):
            if text.endswith(stop[:length]):
                longest = length
                break
    return longest
