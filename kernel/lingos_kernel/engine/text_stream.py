"""Tokens to text, one at a time: what comes out never changes later.

For every stream, the pieces of `push` and of `finish` join to exactly the text that the
tokenizer's decoder gives for all tokens at once. A stream is deterministic in its tokens.
"""

from __future__ import annotations

import codecs
import copy
from collections.abc import Sequence
from typing import Any, Protocol, Self

from lingos_kernel.models.text_codec import TextCodec
from lingos_kernel.models.token_bytes import fallback_byte

_REPLACEMENT = "�"
_ANCHOR_TOKENS = 4


class TextStream(Protocol):
    """Turns tokens into text that is final."""

    def push(self, token_id: int) -> str:
        """The text that became final with this token; maybe none."""

    def finish(self) -> str:
        """The text of what stayed incomplete, as U+FFFD."""

    def fork(self) -> Self:
        """A copy that goes on by itself."""


def text_stream(codec: TextCodec, prompt_ids: Sequence[int] = ()) -> TextStream:
    """The stream for a model's decoder, for tokens that follow a prompt.

    The prompt's text is not repeated; it only decides whether a leading blank is dropped.
    """
    anchor = [id_ for id_ in prompt_ids[-64:] if id_ not in codec.special_ids][-_ANCHOR_TOKENS:]
    if codec.decoder_type == "ByteLevel":
        return ByteLevelStream(codec)
    if codec.decoder_type == "ByteFallback" and ByteFallbackStream.can_decode(codec.decoder_steps):
        return ByteFallbackStream(codec, at_start=not anchor)
    return WholeTextStream(codec, anchor)


class ByteLevelStream:
    """For byte-level BPE (GPT-2, Llama 3, Qwen, SmolLM): tokens are bytes of UTF-8."""

    def __init__(self, codec: TextCodec) -> None:
        self._codec = codec
        self._bytes = b""  # an incomplete character: at most 3 bytes

    def push(self, token_id: int) -> str:
        """The characters that are complete."""
        if token_id in self._codec.special_ids:
            return ""
        data = self._bytes + self._codec.token_bytes(token_id)
        text, used = codecs.utf_8_decode(data, "replace", False)
        self._bytes = data[used:]
        return text

    def finish(self) -> str:
        """U+FFFD for a character that never became complete."""
        text, self._bytes = self._bytes.decode("utf-8", errors="replace"), b""
        return text

    def fork(self) -> Self:
        """A copy that goes on by itself."""
        return copy.copy(self)


class ByteFallbackStream:
    """For SentencePiece models with byte tokens (Llama 2, Gemma, Mistral).

    A run of byte tokens is text only if the whole run is valid UTF-8, else each of its bytes
    is U+FFFD; so a run is held until it ends.
    """

    def __init__(self, codec: TextCodec, *, at_start: bool) -> None:
        self._codec = codec
        self._replacements = [
            (step["pattern"]["String"], step["content"])
            for step in codec.decoder_steps
            if step["type"] == "Replace"
        ]
        strips = [step for step in codec.decoder_steps if step["type"] == "Strip"]
        self._strip = (strips[0]["content"], strips[0]["start"]) if strips and at_start else ("", 0)
        self._run = b""

    @staticmethod
    def can_decode(steps: Sequence[dict[str, Any]]) -> bool:
        """Whether the decoder does only what this stream does."""
        return all(
            step["type"] in ("ByteFallback", "Fuse")
            or (step["type"] == "Replace" and len(step["pattern"].get("String", "")) == 1)
            or (step["type"] == "Strip" and step["stop"] == 0)
            for step in steps
        )

    def push(self, token_id: int) -> str:
        """The text of the token, after the byte run that it ends."""
        token = self._codec.tokenizer.id_to_token(token_id)
        if token is None or token_id in self._codec.special_ids:
            return ""
        byte = fallback_byte(token)
        if byte is not None:
            self._run += bytes([byte])
            return ""
        for mark, text in self._replacements:
            token = token.replace(mark, text)
        return self._stripped(self._end_run() + token)

    def finish(self) -> str:
        """The text of the byte run at the end."""
        return self._stripped(self._end_run())

    def fork(self) -> Self:
        """A copy that goes on by itself."""
        return copy.copy(self)

    def _end_run(self) -> str:
        run, self._run = self._run, b""
        try:
            return run.decode()
        except UnicodeDecodeError:
            return _REPLACEMENT * len(run)

    def _stripped(self, text: str) -> str:
        """The text without blanks that the decoder drops at the very start."""
        content, left = self._strip
        while left and text:
            if not text.startswith(content):
                left = 0
                break
            text, left = text[len(content) :], left - 1
        self._strip = (content, left)
        return text


class WholeTextStream:
    """For all other decoders: decodes everything again, so it costs more with each token.

    These decoders treat tokens one by one, so what is decoded stays, but for a character that
    is incomplete at the end.
    """

    def __init__(self, codec: TextCodec, anchor: Sequence[int]) -> None:
        self._codec = codec
        self._ids = tuple(anchor)
        self._emitted = len(codec.decode(self._ids))

    def push(self, token_id: int) -> str:
        """The text that is complete."""
        self._ids = (*self._ids, token_id)
        return self._emit(self._codec.decode(self._ids).rstrip(_REPLACEMENT))

    def finish(self) -> str:
        """All that was not emitted."""
        return self._emit(self._codec.decode(self._ids))

    def fork(self) -> Self:
        """A copy that goes on by itself."""
        return copy.copy(self)

    def _emit(self, text: str) -> str:
        piece = text[self._emitted :]
        self._emitted = max(self._emitted, len(text))
        return piece
