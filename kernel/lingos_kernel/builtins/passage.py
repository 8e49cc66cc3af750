"""A text on its way through a model, as it stands: for contexts without a chat template."""

from __future__ import annotations

from collections.abc import Sequence

from lingos_kernel.builtins.transcript import partial_content
from lingos_kernel.models.text_codec import TextCodec
from lingos_kernel.processes.contexts import EMPTY, TEXT, Conversation, Cut, Entry, Message


class Passage:
    """Grows by pieces of text. A conversation can be one too: its last message goes on."""

    def __init__(self, codec: TextCodec, conversation: Conversation = EMPTY) -> None:
        self._codec = codec
        self.tokens = conversation.tokens.tolist()
        self.entries: list[Entry] = []
        """New since `start`."""
        self.start = len(self.tokens)
        """From where on the tokens are not what the context holds."""
        if (cut := conversation.cut) is not None:
            self.start = cut.start
            self._enter(self._kept(cut))

    def say(self, text: str) -> None:
        """Add a piece of text; the first one gets what the model expects before a text."""
        self._add(self._codec.encode(text, special=not self.tokens), text)

    def answered(self, token_ids: Sequence[int], text: str) -> None:
        """Add what the model wrote; the token that ended it is no part of it."""
        ends = bool(token_ids) and token_ids[-1] in self._codec.eos_ids
        self._add(token_ids[:-1] if ends else token_ids, text)

    def _add(self, token_ids: Sequence[int], text: str) -> None:
        if token_ids:
            self.tokens = [*self.tokens, *token_ids]
            self._enter({"role": TEXT, "content": text})

    def _enter(self, message: Message) -> None:
        self.entries.append(Entry(message, len(self.tokens)))

    def _kept(self, cut: Cut) -> Message:
        """What there is of a message in whose middle the context ends."""
        partial = partial_content(self._codec, cut, len(self.tokens))
        if partial:
            return {**cut.message, "content": partial}
        kept = self._codec.decode(self.tokens[cut.start :], skip_special=False)
        return {"role": TEXT, "content": kept}
