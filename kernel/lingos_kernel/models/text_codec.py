"""Text to tokens and back, for one model; no torch, no transformers.

The kernel encodes prompts and renders chats with it, the engine decodes with it. A codec is
immutable after loading and may be shared by threads.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from lingos_kernel.errors import InvalidArguments
from lingos_kernel.models.chat_template import ChatTemplate, Message, literals
from lingos_kernel.models.codec_files import CodecFiles
from lingos_kernel.models.control_guard import ControlGuard
from lingos_kernel.models.token_bytes import token_to_bytes

_TRUSTED_ROLES = frozenset({"system", "developer", "assistant"})


LONG_CHARACTERS = 20_000
"""Of a text whose encoding takes so long that other threads should run meanwhile."""


class TextCodec:
    """A model's tokenizer, chat template and limits."""

    def __init__(self, files: CodecFiles) -> None:
        self._tokenizer = files.tokenizer
        self._template = ChatTemplate(files.templates, files.special_tokens)
        self._added = files.tokenizer.get_added_tokens_decoder()
        self._special_ids = frozenset(id_ for id_, token in self._added.items() if token.special)
        self.special_tokens = files.special_tokens
        """bos_token, eos_token, ... and their text."""
        self.eos_ids = files.eos_ids
        self.context_tokens = files.context_tokens
        """Positions that the model was made for; 0 when its files do not say."""
        self.embed_tokens = files.embed_tokens
        """Longest input to embed whole; 0 when its files do not say."""

    @classmethod
    def load(cls, path: Path) -> TextCodec:
        """The codec of the model in a folder.

        Raises `UnsupportedModel` when it has no tokenizer.json, `CorruptModel` when a file
        cannot be read.
        """
        return cls(CodecFiles.read(path))

    @property
    def tokenizer(self) -> Tokenizer:
        """The tokenizer underneath; do not change its settings."""
        return self._tokenizer

    @property
    def template(self) -> ChatTemplate:
        """The model's chat template."""
        return self._template

    @property
    def special_ids(self) -> frozenset[int]:
        """The tokens that `decode` leaves out."""
        return self._special_ids

    @functools.cached_property
    def bos_id(self) -> int | None:
        """The token that starts a text, if the tokenizer names one."""
        token = self.special_tokens.get("bos_token")
        return None if token is None else self._tokenizer.token_to_id(token)

    @functools.cached_property
    def vocabulary(self) -> int:
        """How many token ids there are: the highest plus one, added tokens included.

        The model's logits may be padded to more.
        """
        last = max(self._added, default=-1)
        return max(self._tokenizer.get_vocab_size(with_added_tokens=True), last + 1)

    @functools.cached_property
    def frame(self) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """The tokens that `encode(special=True)` puts before and after a text."""
        plain = self.encode("a")
        framed = self.encode("a", special=True)
        for start in range(len(framed) - len(plain) + 1):
            if framed[start : start + len(plain)] == plain:
                return tuple(framed[:start]), tuple(framed[start + len(plain) :])
        return (), ()

    def encode(self, text: str, *, special: bool = False, control: bool = True) -> list[int]:
        """The tokens of a text.

        `special` adds the tokens that the model expects around a text (BOS, EOS, CLS). With
        `control`, a control token spelled in the text becomes that token; without, it stays
        text. Raises `InvalidArguments` for text that is not valid Unicode.
        """
        if not control:
            before, after = self.frame if special else ((), ())
            return [*before, *self._guard.encode(self._guard.mark(text, is_trusted=True)), *after]
        try:
            if len(text) < LONG_CHARACTERS:
                return list(self._tokenizer.encode(text, add_special_tokens=special).ids)
            # The batch form lets other threads run meanwhile.
            (found,) = self._tokenizer.encode_batch_fast([text], add_special_tokens=special)
            return list(found.ids)
        except (TypeError, UnicodeEncodeError) as error:
            raise InvalidArguments(
                "the text is not valid Unicode (it holds lone surrogates)",
                hint="decode the input as UTF-8 before passing it on",
            ) from error

    def decode(self, ids: Sequence[int], *, skip_special: bool = True) -> str:
        """The text of tokens; incomplete or invalid UTF-8 becomes U+FFFD."""
        return self._tokenizer.decode(list(ids), skip_special_tokens=skip_special)

    def token_text(self, token_id: int) -> str:
        """One token for display: its text if it is valid by itself, else U+FFFD in places."""
        return self.token_bytes(token_id).decode("utf-8", errors="replace")

    def token_bytes(self, token_id: int) -> bytes:
        """The bytes that a token stands for; b"" for ids outside of the vocabulary."""
        token = self._tokenizer.id_to_token(token_id)
        if token is None:
            return b""
        if token_id in self._added:
            return token.encode()
        return token_to_bytes(token, self.decoder_type)

    @functools.cached_property
    def decoder_steps(self) -> list[dict[str, Any]]:
        """The settings of the tokenizer's decoders, in their order."""
        if self._tokenizer.decoder is None:
            return []
        state = json.loads(self._tokenizer.decoder.__getstate__())
        return list(state.get("decoders", [state]))

    @functools.cached_property
    def decoder_type(self) -> str:
        """How tokens become text: ByteLevel, ByteFallback, or the names of other decoders."""
        steps = [step["type"] for step in self.decoder_steps]
        return "ByteFallback" if "ByteFallback" in steps else "+".join(steps)

    def render_chat(
        self,
        messages: Sequence[Message],
        *,
        tools: Sequence[Mapping[str, Any]] | None = None,
        add_generation_prompt: bool = True,
        **template_arguments: Any,
    ) -> str:
        """The prompt text of a conversation, as transformers' apply_chat_template renders it."""
        return self._template.render(
            messages,
            tools=tools,
            add_generation_prompt=add_generation_prompt,
            **template_arguments,
        )

    def encode_chat(
        self,
        messages: Sequence[Message],
        *,
        tools: Sequence[Mapping[str, Any]] | None = None,
        add_generation_prompt: bool = True,
        trusted: bool = False,
        **template_arguments: Any,
    ) -> list[int]:
        """The prompt tokens of a conversation; BOS comes from the template alone.

        Unless `trusted`, a control token that somebody spelled in a message, a tool or a
        template argument stays text: only the template itself opens and closes turns. Text
        without such spellings is encoded exactly as if it were trusted. Added tokens that are
        not special but stand in the template (such as tool-call or reasoning tags) are kept
        from users and tools, while the model's own turns and the system's may hold them.
        """
        if trusted:
            text = self.render_chat(
                messages,
                tools=tools,
                add_generation_prompt=add_generation_prompt,
                **template_arguments,
            )
            ids = self.encode(text)
        else:
            text = self._render_guarded(
                messages, tools, add_generation_prompt, **template_arguments
            )
            ids = self._guard.encode(text)
        return [*self.frame[0], *ids] if self._template.is_fallback else ids

    def encode_chat_after(
        self,
        before: str,
        messages: Sequence[Message],
        *,
        tools: Sequence[Mapping[str, Any]] | None = None,
        add_generation_prompt: bool = True,
    ) -> tuple[list[int], str] | None:
        """The tokens that continue a text to a whole conversation, and the conversation's text.

        `before` is the text of tokens, as `decode(ids, skip_special=False)` gives it: they need
        not be encoded again, however the model itself has cut its words into tokens. None when
        the conversation does not begin with that text (some templates rewrite what was said).
        """
        frame = self.frame[0] if self._template.is_fallback else ()
        text = self._render_guarded(messages, tools, add_generation_prompt)
        whole = self.decode(frame, skip_special=False) + text
        rest = self._guard.after(before, whole)
        if rest is None:
            return None
        if before:
            ids = self._guard.encode(rest, onward=True)
        else:
            ids = [*frame, *self._guard.encode(text)]
        return ids, self._guard.plain(whole)

    def _render_guarded(
        self,
        messages: Sequence[Message],
        tools: Sequence[Mapping[str, Any]] | None,
        add_generation_prompt: bool,
        **template_arguments: Any,
    ) -> str:
        """The prompt text of a conversation, with marks around what somebody spelled in it."""
        mark = functools.partial(self._guard.mark, written=literals(self._template.source(tools)))
        guarded = [
            mark(message, is_trusted=message.get("role") in _TRUSTED_ROLES) for message in messages
        ]
        return self.render_chat(
            guarded,
            tools=mark(tools),
            add_generation_prompt=add_generation_prompt,
            **mark(template_arguments),
        )

    @functools.cached_property
    def _guard(self) -> ControlGuard:
        return ControlGuard(self._added, self.encode)
