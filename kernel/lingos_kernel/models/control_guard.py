"""Keeps control tokens that somebody spells in a text from becoming control tokens."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from tokenizers import AddedToken

_START, _END = "\U000f0000", "\U000f0001"
"""Private-use characters around the control tokens that stand in untrusted text."""
_ANY_MARK = re.compile(f"[{_START}{_END}]")


class ControlGuard:
    """Marks control tokens before a template is rendered, and encodes what is marked as text.

    Text without control tokens is encoded exactly as without a guard.
    """

    def __init__(self, added: Mapping[int, AddedToken], encode: Callable[[str], list[int]]) -> None:
        """`added`: the tokenizer's added tokens, which `encode` recognises in any text."""
        self._added = added
        self._encode = encode
        all_tokens = _any_of(token.content for token in added.values()).pattern
        self._marks = re.compile(f"{_START}({all_tokens}){_END}|[{_START}{_END}]")

    def mark(self, value: Any, *, written: str = "", is_trusted: bool = False) -> Any:
        """The value with marks around the control tokens in its strings.

        Control tokens are the special tokens; in values that are not trusted also the added
        tokens in `written`, the text of a template. A whole token is marked, not split, so that
        templates that look for it (`'</think>' in content`) still find it.
        """
        pattern = self._pattern("" if is_trusted else written)
        return _mark(value, pattern)

    def encode(self, text: str, *, onward: bool = False) -> list[int]:
        """The tokens of a text, where marked control tokens stay text and lone marks vanish.

        `onward`: of a text that continues another.
        """
        pieces = self._marks.split(text)
        ids = self._encode_onward(pieces[0]) if onward else self._encode(pieces[0])
        for marked, following in zip(pieces[1::2], pieces[2::2], strict=True):
            if marked:
                ids += self._encode_as_text(marked)
            ids += self._encode_onward(following)
        return ids

    @staticmethod
    def plain(text: str) -> str:
        """The text without its marks."""
        return text.replace(_START, "").replace(_END, "")

    @classmethod
    def after(cls, before: str, text: str) -> str | None:
        """What follows `before`, which has no marks, in a text; None when that begins otherwise."""
        if not cls.plain(text).startswith(before):
            return None
        offset = len(before)
        for mark in _ANY_MARK.finditer(text):
            is_behind = mark.start() < offset or (mark.start() == offset and mark[0] == _END)
            if not is_behind:
                break
            offset += 1
        return text[offset:]

    @functools.lru_cache(maxsize=8)  # noqa: B019 - a guard lives as long as its model
    def _pattern(self, written: str) -> re.Pattern[str]:
        return _any_of(
            token.content
            for token in self._added.values()
            if token.special or (token.content in written and not token.content.isspace())
        )

    def _encode_as_text(self, token: str) -> list[int]:
        """A control token's spelling in ordinary tokens: cut, so that it is not recognised."""
        ids = self._encode_onward(token[:1]) + self._encode_onward(token[1:])
        if self._added.keys() & set(ids):
            ids = [id_ for character in token for id_ in self._encode_onward(character)]
        return ids

    def _encode_onward(self, piece: str) -> list[int]:
        """The tokens of a text that continues another: no prefix space is added."""
        if not piece:
            return []
        newline = self._encode("\n")
        ids = self._encode("\n" + piece)
        if ids[: len(newline)] == newline:
            return ids[len(newline) :]
        return self._encode(piece)


def _mark(value: Any, pattern: re.Pattern[str]) -> Any:
    if isinstance(value, str):
        unforged = ControlGuard.plain(value)
        return pattern.sub(f"{_START}\\g<0>{_END}", unforged)
    if isinstance(value, Mapping):
        return {key: _mark(item, pattern) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_mark(item, pattern) for item in value]
    return value


def _any_of(tokens: Iterable[str]) -> re.Pattern[str]:
    """Matches any of the tokens, the longest first; nothing when there are none."""
    longest_first = sorted(tokens, key=len, reverse=True)
    return re.compile("|".join(map(re.escape, longest_first)) or "(?!)")
