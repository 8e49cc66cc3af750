"""A tokenizer whose tokens are the bytes of UTF-8."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

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
    with tempfile.TemporaryDirectory() as folder:
        save_byte_codec(Path(folder), context_tokens=context_tokens)
        return TextCodec.load(Path(folder))


def save_byte_codec(folder: Path, *, context_tokens: int = 4096) -> None:
    """Write the files of a model without weights, whose tokenizer is `byte_codec`'s."""
    tokenizer = Tokenizer(models.BPE(vocab=_byte_characters(), merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(text, special=True) for text in (IM_START, IM_END)])
    tokenizer.save(str(folder / "tokenizer.json"))
    settings = {"bos_token": IM_START, "eos_token": IM_END, "chat_template": CHATML}
    config = {"max_position_embeddings": context_tokens, "eos_token_id": 257}
    for name, data in (("tokenizer_config.json", settings), ("config.json", config)):
        (folder / name).write_text(json.dumps(data), encoding="utf-8")


def _byte_characters() -> dict[str, int]:
    """GPT-2's printable stand-in for each byte."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in printable]
    stand_ins = {chr(byte): byte for byte in printable}
    return stand_ins | {chr(256 + index): byte for index, byte in enumerate(others)}
