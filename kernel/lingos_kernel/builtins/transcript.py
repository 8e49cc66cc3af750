"""A conversation on its way through a model: its messages, and their exact tokens.

What the model has said is never encoded again: its own tokens stay, and what is new is put behind
them. So every page that was computed for them can be used again.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from lingos_kernel.builtins.tools import ToolBox
from lingos_kernel.errors import InvalidArguments
from lingos_kernel.models.text_codec import TextCodec
from lingos_kernel.processes.contexts import TEXT, Conversation, Cut, Entry, Message

REPLACEMENT = "\ufffd"
"""What an incomplete character is decoded as."""


class Transcript:
    """Grows by messages and answers. Used by one call at a time."""

    def __init__(
        self, codec: TextCodec, conversation: Conversation | None = None, *, name: str = ""
    ) -> None:
        """`conversation`: what a context `name` holds; its ends of messages are kept up to date."""
        self._codec = codec
        self.is_kept = conversation is not None
        """Whether it is a context's, which must know where its messages end."""
        self.tools: ToolBox | None = None
        self.tokens: list[int] = []
        self.messages: list[Message] = []
        self.entries: list[Entry] = []
        """New since `start`."""
        self.start = 0
        """From where on the tokens are not what the context holds."""
        self._said: list[Message] = []
        """Messages that have no tokens yet."""
        self._unplaced: list[Message] = []
        """Messages whose tokens are there, but not yet where they end."""
        self._text: str | None = ""
        """The text of the tokens; None until it is needed."""
        if conversation is not None:
            self._take(conversation, name)

    @property
    def new_characters(self) -> int:
        """Of the messages that have no tokens yet."""
        return sum(len(str(message.get("content") or "")) for message in self._said)

    def say(self, messages: Sequence[Message]) -> None:
        """Add messages."""
        self._said += messages

    def prompt(self) -> list[int]:
        """The tokens after which the model is to answer.

        Raises `InvalidArguments` when there is nothing to answer.
        """
        if not self._said and self._has_open_answer():
            return self.tokens
        if not self._said and self.messages and self.messages[-1]["role"] == "assistant":
            raise InvalidArguments(
                "the conversation ends with an answer", hint="say something to be answered"
            )
        self._place(add_generation_prompt=True)
        return self.tokens

    def settle(self) -> None:
        """Give all messages their tokens, without asking for an answer."""
        if self._said:
            self._place(add_generation_prompt=False)

    def answered(self, token_ids: Sequence[int], text: str) -> None:
        """The model has answered with these tokens."""
        goes_on = self._has_open_answer()
        if goes_on:
            said = {"role": TEXT, "content": text}
            self.messages[-1] = {**self.messages[-1], "content": self._content(-1) + text}
        else:
            said = {"role": "assistant", "content": text}
            self.messages.append(said)
        prompt = self.tokens
        for ids in self._endings(token_ids):
            self.tokens, self._text = [*prompt, *ids], None
            if not self.is_kept or self._fits():
                break
        self._enter(said)

    def _fits(self) -> bool:
        """Whether the template goes on from the text as it is."""
        try:
            return self._rest(add_generation_prompt=False) is not None
        except InvalidArguments:
            return False

    def _endings(self, token_ids: Sequence[int]) -> Iterator[Sequence[int]]:
        """The answer, and without its last token: a template may not write what ends a text."""
        if token_ids and token_ids[-1] in self._codec.eos_ids:
            yield token_ids
            yield token_ids[:-1]
        yield token_ids

    # Inside

    def _take(self, conversation: Conversation, name: str) -> None:
        """Begin with what a context holds."""
        self.tokens = conversation.tokens.tolist()
        self.start = len(self.tokens)
        for entry in conversation.entries:
            self._remember(entry.message, name)
        if conversation.cut is not None:
            self._take_cut(conversation.cut, name)
        self._text = None

    def _take_cut(self, cut: Cut, name: str) -> None:
        """Keep what there is of a message in whose middle the context ends."""
        partial = partial_content(self._codec, cut, len(self.tokens))
        self.start = cut.start
        if partial:
            message = {**cut.message, "content": partial}
            self._remember(message, name)
            self._enter(message)
        else:
            self.tokens = self.tokens[: cut.start]

    def _remember(self, message: Message, name: str) -> None:
        if message["role"] != TEXT:
            self.messages.append(message)
            return
        if not self.messages:
            raise InvalidArguments(
                f"the context {name} is a text, not a conversation",
                hint="continue it with llm.complete",
            )
        self.messages[-1] = {**self.messages[-1], "content": self._content(-1) + message["content"]}

    def _content(self, index: int) -> str:
        return str(self.messages[index].get("content") or "")

    def _has_open_answer(self) -> bool:
        """Whether the last answer was broken off, so that the model may go on with it."""
        return (
            self.is_kept
            and not self._said
            and bool(self.messages)
            and self.messages[-1]["role"] == "assistant"
            and self.tokens[-1] not in self._codec.eos_ids
        )

    def _place(self, *, add_generation_prompt: bool) -> None:
        """Give what was said its tokens, behind those that are there, if that can be."""
        said, self._said = self._said, []
        if not self.is_kept and not self.tokens:
            self.messages += said
            self._encode_anew(add_generation_prompt)
            return
        self._place_each(said)
        if (add_generation_prompt or self._unplaced) and not self._continue(add_generation_prompt):
            self._start_over(add_generation_prompt)

    def _place_each(self, messages: Sequence[Message]) -> None:
        """Add messages one by one, to know where each ends, as far as the template lets them."""
        for message in messages:
            self.messages.append(message)
            self._unplaced.append(message)
            try:
                self._continue(add_generation_prompt=False)
            except InvalidArguments:
                continue  # it refuses this beginning of the conversation, perhaps not the whole

    def _continue(self, add_generation_prompt: bool) -> bool:
        """Put the tokens of what is new behind the others; False when the template forbids it."""
        found = self._rest(add_generation_prompt)
        if found is None:
            return False
        ids, self._text = found
        self.tokens = [*self.tokens, *ids]
        self._end_unplaced()
        return True

    def _rest(self, add_generation_prompt: bool) -> tuple[list[int], str] | None:
        if self._text is None:
            self._text = self._codec.decode(self.tokens, skip_special=False)
        return self._codec.encode_chat_after(
            self._text,
            self._view(self.messages),
            tools=self._schemas(),
            add_generation_prompt=add_generation_prompt,
        )

    def _start_over(self, add_generation_prompt: bool) -> None:
        """Encode the whole conversation again: the template has rewritten its beginning."""
        self.start, self.tokens, self._text, self.entries = 0, [], "", []
        self._unplaced = []
        messages, self.messages = self.messages, []
        self._place_each(messages)
        if not self._continue(add_generation_prompt):
            self._encode_anew(add_generation_prompt)

    def _encode_anew(self, add_generation_prompt: bool) -> None:
        """One encoding of everything; says nothing of where messages end."""
        self.tokens = self._codec.encode_chat(
            self._view(self.messages),
            tools=self._schemas(),
            add_generation_prompt=add_generation_prompt,
        )
        self._text = None
        self.start, self.entries, self._unplaced = 0, [], list(self.messages)
        self._end_unplaced()

    def _end_unplaced(self) -> None:
        for message in self._unplaced:
            self._enter(message)
        self._unplaced = []

    def _enter(self, message: Message) -> None:
        self.entries.append(Entry(message, len(self.tokens)))

    def _view(self, messages: Sequence[Message]) -> list[Message]:
        """The messages as the template is to see them."""
        if self.tools is None or self._codec.template.takes_tools:
            return list(messages)
        return self.tools.instruct(list(messages))

    def _schemas(self) -> list[dict[str, Any]] | None:
        takes = self.tools is not None and self._codec.template.takes_tools
        return self.tools.schemas() if self.tools is not None and takes else None


def partial_content(codec: TextCodec, cut: Cut, length: int) -> str:
    """What the kept tokens of a cut message hold of its content; "" when that is nothing."""
    content = str(cut.message.get("content") or "")
    whole = codec.decode(cut.whole, skip_special=False)
    kept = codec.decode(cut.whole[: length - cut.start], skip_special=False)
    begin = whole.find(content)
    if begin < 0:
        return ""
    return kept[begin : begin + len(content)].rstrip(REPLACEMENT)


def shown_messages(
    codec: TextCodec, conversation: Conversation
) -> Iterator[tuple[Message, int, bool]]:
    """Each message with where it ends, and whether it is whole."""
    for entry in conversation.entries:
        yield entry.message, entry.end, True
    if conversation.cut is not None:
        length = len(conversation.tokens)
        partial = partial_content(codec, conversation.cut, length)
        yield {**conversation.cut.message, "content": partial}, length, False
