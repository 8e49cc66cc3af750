"""Grammar-constrained decoding: which tokens may come next.

llguidance walks a grammar (JSON schema, regex, Lark or GBNF) along the tokens and gives a bit
mask of allowed ones in about 50 microseconds. No torch here: masks are numpy arrays.
"""

from __future__ import annotations

import functools
import json
import re
from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

import numpy as np
from llguidance import LLMatcher, LLParserLimits, LLTokenizer
from llguidance.gbnf_to_lark import gbnf_to_lark
from numpy.typing import NDArray

from lingos_kernel.engine.messages import Grammar
from lingos_kernel.engine.schema_checks import never_ends
from lingos_kernel.errors import EngineError, InvalidGrammar, UnsupportedModel
from lingos_kernel.models.text_codec import TextCodec

_CACHED_GRAMMARS = 128

_JSON_LAYOUT = {"whitespace_pattern": r"[ \n\t]{1,32}"}
"""Free layout, but not the endless blanks in which small models get lost.

A schema's own x-guidance wins.
"""

_GBNF_RULE = re.compile(r"(?m)^\s*[\w-]+\s*::=")

_HINTS = {
    "json": "give a JSON schema that some value satisfies; see json-schema.org",
    "regex": "give a regular expression without look-around or back-references",
    "ebnf": "give a Lark grammar with a rule named start, or GBNF (::=) with one named root",
}


class GrammarMatcher:
    """The state of one sequence within its grammar."""

    __slots__ = ("_matcher", "_words")

    def __init__(self, matcher: Any, words: int) -> None:
        """`words`: 32-bit words of a mask over the tokenizer's vocabulary."""
        self._matcher = matcher
        self._words = words

    def accept(self, token_id: int) -> None:
        """Go on past a token of the output, EOS included.

        Raises `EngineError` for a token that the mask forbids.
        """
        if not self._matcher.consume_token(token_id):
            raise EngineError(
                f"token {token_id} does not fit the grammar: {_reason(self._matcher.get_error())}",
                hint="report this: the mask must forbid such tokens",
            )

    def accept_all(self, token_ids: Sequence[int]) -> None:
        """Go on past several tokens (replay)."""
        for token_id in token_ids:
            self.accept(token_id)

    @property
    def is_finished(self) -> bool:
        """Whether the grammar is complete, so that only EOS may follow: end the sequence."""
        return bool(self._matcher.is_stopped())

    @property
    def is_accepting(self) -> bool:
        """Whether the output so far is a whole match (more may follow)."""
        return bool(self._matcher.is_accepting())

    @property
    def error(self) -> str | None:
        """Why the grammar gave up (it grew too complex); it then allows only EOS."""
        return _reason(self._matcher.get_error()) if self._matcher.is_error() else None

    def fill_mask(self, mask: NDArray[np.int32]) -> None:
        """Set the bits of the tokens that may come next; `mask` is one row of `new_masks`.

        Tokens beyond the tokenizer's vocabulary (padding of the logits) are forbidden.
        """
        if len(mask) < self._words:
            whole = np.zeros(self._words, dtype=np.int32)
            self._matcher.unsafe_compute_mask_ptr(whole.ctypes.data, whole.nbytes)
            mask[:] = whole[: len(mask)]
            return
        self._matcher.unsafe_compute_mask_ptr(mask.ctypes.data, self._words * 4)
        mask[self._words :] = 0

    def fork(self) -> GrammarMatcher:
        """A copy that goes on by itself."""
        return GrammarMatcher(self._matcher.deep_copy(), self._words)


class GrammarCompiler:
    """Compiles grammars for one model's vocabulary; the newest 128 are kept."""

    def __init__(self, codec: TextCodec) -> None:
        self._codec = codec
        self._compiled: OrderedDict[Grammar, GrammarMatcher] = OrderedDict()

    @functools.cached_property
    def _tokenizer(self) -> Any:
        """llguidance's view of the vocabulary; takes about 0.2 s, so it waits for a grammar."""
        eos_ids = sorted(self._codec.eos_ids)
        try:
            return LLTokenizer(
                self._codec.tokenizer.to_str(),
                n_vocab=self._codec.vocabulary,
                eos_token=eos_ids or None,
            )
        except ValueError as error:
            raise UnsupportedModel(
                f"the model's tokenizer cannot follow a grammar: {_reason(str(error))}",
                hint="use a model with a byte-level or byte-fallback tokenizer and an EOS token",
            ) from error

    def compile(self, grammar: Grammar) -> GrammarMatcher:
        """A fresh matcher at the start of the grammar.

        Raises `InvalidGrammar` when it cannot be read, or when no text at all matches it.
        """
        matcher = self._compiled.get(grammar)
        if matcher is None:
            words = (self._tokenizer.vocab_size + 31) // 32
            matcher = GrammarMatcher(self._build(grammar), words)
            self._compiled[grammar] = matcher
            if len(self._compiled) > _CACHED_GRAMMARS:
                self._compiled.popitem(last=False)
        self._compiled.move_to_end(grammar)
        return matcher.fork()

    def _build(self, grammar: Grammar) -> Any:
        try:
            source = _source(grammar)
        # The converters raise bare Exception: each means that the text cannot be read.
        except Exception as error:
            raise _invalid(grammar, str(error)) from error
        limits = LLParserLimits(verbose_errors=False)
        matcher = LLMatcher(self._tokenizer, source, log_level=0, limits=limits)
        if not matcher.is_error():
            matcher.compute_bitmask()  # finds that nothing may come first, and warms the lexer
        if matcher.is_error():
            raise _invalid(grammar, matcher.get_error())
        return matcher


def new_masks(rows: int, vocabulary: int) -> NDArray[np.int32]:
    """Masks that forbid all: [rows, words], bit `t % 32` of word `t // 32` allows token t."""
    return np.zeros((rows, (vocabulary + 31) // 32), dtype=np.int32)


def fill_masks(matchers: Sequence[GrammarMatcher], masks: NDArray[np.int32]) -> None:
    """Set row i to the tokens that may come next in matcher i, row by row.

    One row takes 5 to 90 microseconds; handing rows to threads costs more than it saves.
    """
    for matcher, mask in zip(matchers, masks, strict=True):
        matcher.fill_mask(mask)


def _source(grammar: Grammar) -> str:
    if grammar.kind == "json":
        if never_ends(json.loads(grammar.text)):
            raise ValueError("Unsatisfiable schema: every value would have to be endless")
        return str(LLMatcher.grammar_from_json_schema(grammar.text, defaults=_JSON_LAYOUT))
    if grammar.kind == "regex":
        return str(LLMatcher.grammar_from_regex(grammar.text))
    is_gbnf = _GBNF_RULE.search(grammar.text) is not None
    return str(LLMatcher.grammar_from_lark(gbnf_to_lark(grammar.text) if is_gbnf else grammar.text))


def _invalid(grammar: Grammar, reason: str) -> InvalidGrammar:
    kind = {"json": "JSON schema", "regex": "regular expression", "ebnf": "grammar"}[grammar.kind]
    return InvalidGrammar(
        f"the {kind} cannot be used: {_reason(reason)}",
        hint=_HINTS[grammar.kind],
        kind=grammar.kind,
    )


def _reason(message: str) -> str:
    """llguidance's message in one line, without its dump of the state."""
    if message.startswith("NoExtension"):
        return "no text matches it"
    return re.sub(r"\s+", " ", message.split("<state>")[0].split("<non-verbose")[0]).strip()
