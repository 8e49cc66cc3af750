"""A tokenizer whose tokens are the bytes of UTF-8."""

from __future__ import annotations

from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

from lingos_kernel.models.chat_template import ChatTemplate
from lingos_kernel.models.text_codec import TextCodec

IM_START, IM_END = "<|im_start|>", "<|im_end|>"
CHATML = (
    "{% if tools %}<|im_start|>tools\n{{ tools | tojson }}<|im_end|>\n{% endif %}"
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}"
    "<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def byte_codec(context_tokens: int = 4096) -> TextCodec:
    """A real `TextCodec`: token id = byte, 256 opens a turn, 257 closes it and ends the text.

    So `codec.encode("hi") == list(b"hi")`. Chats are rendered in ChatML, tools as JSON in a
    turn before them.
    """
    tokenizer = Tokenizer(models.BPE(vocab=_byte_characters(), merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(text, special=True) for text in (IM_START, IM_END)])
    end_id = tokenizer.token_to_id(IM_END)
    assert end_id is not None
    special = {"bos_token": IM_START, "eos_token": IM_END}
    return TextCodec(
        tokenizer,
        template=ChatTemplate({"default": CHATML}, special),
        special_tokens=special,
        eos_ids=frozenset({end_id}),
        context_tokens=context_tokens,
    )


def _byte_characters() -> dict[str, int]:
    """GPT-2's printable stand-in for each byte."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in printable]
    stand_ins = {chr(byte): byte for byte in printable}
    return stand_ins | {chr(256 + index): byte for index, byte in enumerate(others)}
