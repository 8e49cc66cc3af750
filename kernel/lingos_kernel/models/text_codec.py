"""Text to tokens and back, for one model; no torch, no transformers.

The kernel encodes prompts and renders chats with it, the engine decodes with it. A codec is
immutable after loading and may be shared by threads.
"""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from lingos_kernel.errors import CorruptModel, InvalidArguments, UnsupportedModel
from lingos_kernel.models.chat_template import ChatTemplate, Message, literals
from lingos_kernel.models.token_bytes import token_to_bytes

_CONTEXT_KEYS = (
    "max_position_embeddings",
    "n_positions",
    "n_ctx",
    "max_sequence_length",
    "max_seq_len",
    "seq_length",
)
_UNLIMITED = 10**9
"""Tokenizers write a huge model_max_length for "none"."""

_START, _END = "\U000f0000", "\U000f0001"
"""Private-use characters around control tokens that stand in untrusted text."""

_TRUSTED_ROLES = frozenset({"system", "developer", "assistant"})


class TextCodec:
    """A model's tokenizer, chat template and limits."""

    def __init__(
        self,
        tokenizer: Tokenizer,
        *,
        template: ChatTemplate,
        special_tokens: Mapping[str, str],
        eos_ids: frozenset[int],
        context_tokens: int,
        embed_tokens: int,
    ) -> None:
        """`special_tokens` maps bos_token, eos_token, ... to their text."""
        self._tokenizer = tokenizer
        self._template = template
        self._added = tokenizer.get_added_tokens_decoder()
        self._special_ids = frozenset(id_ for id_, token in self._added.items() if token.special)
        self.special_tokens = special_tokens
        self.eos_ids = eos_ids
        self.context_tokens = context_tokens
        """Positions that the model was made for; 0 when its files do not say."""
        self.embed_tokens = embed_tokens
        """Longest input to embed whole; 0 when the files do not say."""

    @classmethod
    def load(cls, path: Path) -> TextCodec:
        """The codec of the model in a folder.

        Raises `UnsupportedModel` when it has no tokenizer.json, `CorruptModel` when a file
        cannot be read.
        """
        tokenizer = _load_tokenizer(path)
        settings = _read_json(path / "tokenizer_config.json")
        special = _special_tokens({**_read_json(path / "special_tokens_map.json"), **settings})
        config = _text_config(_read_json(path / "config.json"))
        generation = _read_json(path / "generation_config.json")
        eos = {*_ids(generation.get("eos_token_id")), *_ids(config.get("eos_token_id"))}
        eos |= _ids(tokenizer.token_to_id(special.get("eos_token", "")))
        context_tokens = _context_tokens(config, settings)
        limits = (
            context_tokens,
            settings.get("model_max_length"),
            _read_json(path / "sentence_bert_config.json").get("max_seq_length"),
        )
        return cls(
            tokenizer,
            template=ChatTemplate(_template_sources(path, settings), special),
            special_tokens=special,
            eos_ids=frozenset(eos),
            context_tokens=context_tokens,
            embed_tokens=min((limit for limit in map(_limit, limits) if limit), default=0),
        )

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
            return [*before, *self._encode_marked(self._mark(text, self._special_pattern)), *after]
        try:
            return list(self._tokenizer.encode(text, add_special_tokens=special).ids)
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
        if not trusted:
            source = self._template.source(tools)
            everywhere, foreign = self._special_pattern, self._control_pattern(source)
            messages = [
                self._mark(m, everywhere if m.get("role") in _TRUSTED_ROLES else foreign)
                for m in messages
            ]
            tools = self._mark(tools, foreign)
            template_arguments = self._mark(template_arguments, foreign)
        text = self.render_chat(
            messages,
            tools=tools,
            add_generation_prompt=add_generation_prompt,
            **template_arguments,
        )
        ids = self.encode(text) if trusted else self._encode_marked(text)
        return [*self.frame[0], *ids] if self._template.is_fallback else ids

    @functools.cached_property
    def _special_pattern(self) -> re.Pattern[str]:
        return _any_of(token.content for token in self._added.values() if token.special)

    @functools.lru_cache(maxsize=8)  # noqa: B019 - a codec lives as long as its model
    def _control_pattern(self, source: str) -> re.Pattern[str]:
        written = literals(source)
        return _any_of(
            token.content
            for token in self._added.values()
            if token.special or (token.content in written and not token.content.isspace())
        )

    @functools.cached_property
    def _marked_pattern(self) -> re.Pattern[str]:
        token = _any_of(token.content for token in self._added.values()).pattern
        return re.compile(f"{_START}({token}){_END}|[{_START}{_END}]")

    def _mark(self, value: Any, pattern: re.Pattern[str]) -> Any:
        """The value with marks around the control tokens in its strings.

        A whole token is marked, not split, so that templates that look for it (`'</think>' in
        content`) still find it.
        """
        if isinstance(value, str):
            unforged = value.replace(_START, "").replace(_END, "")
            return pattern.sub(f"{_START}\\g<0>{_END}", unforged)
        if isinstance(value, Mapping):
            return {key: self._mark(item, pattern) for key, item in value.items()}
        if isinstance(value, (list, tuple)):
            return [self._mark(item, pattern) for item in value]
        return value

    def _encode_marked(self, text: str) -> list[int]:
        """The tokens of a text, where marked control tokens stay text and lone marks vanish."""
        pieces = self._marked_pattern.split(text)
        ids = self.encode(pieces[0])
        for marked, following in zip(pieces[1::2], pieces[2::2], strict=True):
            if marked:
                ids += self._encode_as_text(marked)
            if following:
                ids += self._encode_onward(following)
        return ids

    def _encode_as_text(self, token: str) -> list[int]:
        """A control token's spelling in ordinary tokens: cut, so that it cannot be recognised."""
        ids = self._encode_onward(token[:1]) + self._encode_onward(token[1:])
        if self._added.keys() & set(ids):
            ids = [id_ for character in token for id_ in self._encode_onward(character)]
        return ids

    def _encode_onward(self, piece: str) -> list[int]:
        """The tokens of a text that continues another: no prefix space is added."""
        if not piece:
            return []
        newline = self.encode("\n")
        ids = self.encode("\n" + piece)
        if ids[: len(newline)] == newline:
            return ids[len(newline) :]
        return self.encode(piece)


def _any_of(tokens: Iterable[str]) -> re.Pattern[str]:
    """Matches any of the tokens, the longest first; nothing when there are none."""
    longest_first = sorted(tokens, key=len, reverse=True)
    return re.compile("|".join(map(re.escape, longest_first)) or "(?!)")


def _load_tokenizer(path: Path) -> Tokenizer:
    file = path / "tokenizer.json"
    if not file.is_file():
        raise UnsupportedModel(
            f"{path.name} has no tokenizer.json",
            hint="save its fast tokenizer (AutoTokenizer.from_pretrained(...).save_pretrained)",
        )
    try:
        tokenizer = Tokenizer.from_file(str(file))
    except Exception as error:
        raise CorruptModel(
            f"{file.name} of {path.name} cannot be read: {error}", hint="pull the model again"
        ) from error
    # Fixed padding and truncation belong to training setups; limits are checked elsewhere.
    tokenizer.no_padding()
    tokenizer.no_truncation()
    return tokenizer


def _read_json(file: Path) -> dict[str, Any]:
    """The object in a file; empty when there is no such file."""
    if not file.is_file():
        return {}
    try:
        data = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise CorruptModel(
            f"{file.name} of {file.parent.name} cannot be read: {error}",
            hint="pull the model again",
        ) from error
    return data if isinstance(data, dict) else {}


def _text_config(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """The part of a config that speaks of the language model."""
    inner = config.get("text_config")
    return {**config, **inner} if isinstance(inner, dict) else config


def _special_tokens(settings: Mapping[str, Any]) -> dict[str, str]:
    """The named special tokens: each is a string, or an object with its content."""
    found = {}
    for key, value in settings.items():
        content = value.get("content") if isinstance(value, dict) else value
        if key.endswith("_token") and isinstance(content, str):
            found[key] = content
    return found


def _ids(value: Any) -> set[int]:
    """Token ids of a setting that may be one, a list, or nothing."""
    values = value if isinstance(value, list) else [value]
    return {id_ for id_ in values if isinstance(id_, int)}


def _context_tokens(config: Mapping[str, Any], settings: Mapping[str, Any]) -> int:
    stated = [config.get(key) for key in _CONTEXT_KEYS]
    limits = [*stated, settings.get("model_max_length")]
    return next((limit for limit in map(_limit, limits) if limit), 0)


def _limit(value: Any) -> int:
    """The number of tokens that a setting allows; 0 for none, and a huge one means none."""
    return int(value) if isinstance(value, (int, float)) and 0 < value < _UNLIMITED else 0


def _template_sources(path: Path, settings: Mapping[str, Any]) -> dict[str, str]:
    """Chat templates by name; a file of its own wins over tokenizer_config.json."""
    sources: dict[str, str] = {}
    given = settings.get("chat_template")
    if isinstance(given, str):
        sources["default"] = given
    elif isinstance(given, list):
        sources |= {entry["name"]: entry["template"] for entry in given}
    legacy = _read_json(path / "chat_template.json").get("chat_template")
    if isinstance(legacy, str):
        sources["default"] = legacy
    files = {"default": path / "chat_template.jinja"}
    files |= {file.stem: file for file in (path / "additional_chat_templates").glob("*.jinja")}
    sources |= {name: file.read_text("utf-8") for name, file in files.items() if file.is_file()}
    return sources
