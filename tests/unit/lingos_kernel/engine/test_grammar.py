"""Grammar masks: only what matches, and clear errors for what cannot match."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest

from lingos_kernel.engine.grammar import GrammarCompiler, GrammarMatcher, fill_masks, new_masks
from lingos_kernel.engine.messages import Grammar
from lingos_kernel.errors import EngineError, InvalidGrammar, UnsupportedModel
from lingos_kernel.models.text_codec import TextCodec

PERSON = json.dumps(
    {
        "type": "object",
        "properties": {"name": {"type": "string"}, "age": {"type": "integer"}},
        "required": ["name", "age"],
    }
)


@pytest.fixture(scope="module")
def compiler(byte_codec: TextCodec) -> GrammarCompiler:
    """A compiler for the tiny byte-level vocabulary."""
    return GrammarCompiler(byte_codec)


def allowed(matcher: GrammarMatcher, vocabulary: int) -> set[int]:
    """The tokens that may come next."""
    mask = new_masks(1, vocabulary)
    matcher.fill_mask(mask[0])
    bits = np.unpackbits(mask.view(np.uint8), axis=1, bitorder="little")[0]
    return set(np.flatnonzero(bits).tolist())


def random_output(matcher: GrammarMatcher, codec: TextCodec, seed: int) -> list[int]:
    """Up to 400 random tokens that the grammar allows, ending at EOS or when it is finished."""
    choose = np.random.default_rng(seed)
    ids: list[int] = []
    while len(ids) < 400:
        token_id = int(choose.choice(sorted(allowed(matcher, codec.vocabulary))))
        matcher.accept(token_id)
        if token_id in codec.eos_ids:
            break
        ids.append(token_id)
        if matcher.is_finished:
            break
    return ids


@pytest.mark.parametrize(
    ("grammar", "pattern"),
    [
        (Grammar("regex", "[a-c]{2,5}[0-9]"), "[a-c]{2,5}[0-9]"),
        (Grammar("regex", "(yes|no|中文)"), "(yes|no|中文)"),
        (Grammar("ebnf", 'start: "a" (WORD ",")* "."\nWORD: /[x-z]{1,3}/'), r"a([x-z]{1,3},)*\."),
        (Grammar("ebnf", 'root ::= "yes" | "no" digit\ndigit ::= [0-9]'), "yes|no[0-9]"),
        (Grammar("ebnf", '?start: "x" "::=" "y"'), "x::=y"),
        (Grammar("json", '{"enum": ["red", 7, null]}'), '"red"|7|null'),
    ],
)
def test_random_outputs_match_the_grammar(
    compiler: GrammarCompiler, byte_codec: TextCodec, grammar: Grammar, pattern: str
) -> None:
    """Whatever is chosen among the allowed tokens, the text matches."""
    for seed in range(10):
        ids = random_output(compiler.compile(grammar), byte_codec, seed)
        assert re.fullmatch(pattern, byte_codec.decode(ids))


def test_json_schema_forces_valid_json(compiler: GrammarCompiler, byte_codec: TextCodec) -> None:
    """A text that fits the schema is accepted token by token, and its end is known."""
    matcher = compiler.compile(Grammar("json", PERSON))
    matcher.accept_all(byte_codec.encode('{"name": "Zoë", "age": 7'))
    assert not matcher.is_accepting
    matcher.accept_all(byte_codec.encode("}"))
    assert matcher.is_accepting
    assert matcher.is_finished
    assert matcher.error is None
    assert allowed(matcher, byte_codec.vocabulary) == byte_codec.eos_ids


@pytest.mark.parametrize(
    "schema",
    [
        "false",
        '{"type": "integer", "minimum": 5, "maximum": 3}',
        '{"enum": []}',
        '{"type": "strange"}',
        '{"type": "object", "properties": {"a": false}, "required": ["a"]}',
        '{"allOf": [{"type": "string"}, {"type": "integer"}]}',
        '{"type": "object", "properties": {"me": {"$ref": "#"}}, "required": ["me"]}',
        '{"$ref": "#/nowhere"}',
        '{"type": "string", "pattern": "("}',
        '{"not json',
        "[1]",
    ],
)
def test_a_schema_that_nothing_meets_is_refused(compiler: GrammarCompiler, schema: str) -> None:
    """Contradictions and unreadable schemas are refused in one line, with a hint."""
    with pytest.raises(InvalidGrammar) as caught:
        compiler.compile(Grammar("json", schema))
    assert "\n" not in caught.value.message
    assert caught.value.hint


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("regex", "("),
        ("regex", "a{3,2}"),
        ("regex", "(?=a)b"),
        ("regex", r"[^\s\S]"),
        ("ebnf", "start: missing"),
        ("ebnf", 'start: "open'),
        ("ebnf", "start: start"),
        ("ebnf", 'wrong ::= "a"'),
        ("ebnf", ""),
    ],
)
def test_a_grammar_that_nothing_matches_is_refused(
    compiler: GrammarCompiler, kind: str, text: str
) -> None:
    """Syntax errors and empty languages are refused in one line, with a hint."""
    with pytest.raises(InvalidGrammar) as caught:
        compiler.compile(Grammar(kind, text))  # type: ignore[arg-type]
    assert "\n" not in caught.value.message
    assert caught.value.hint


def test_recursion_with_a_way_out_is_accepted(compiler: GrammarCompiler) -> None:
    """A tree, whose recursion may end, compiles; so do mutual references with alternatives."""
    tree = {"type": "object", "properties": {"kids": {"type": "array", "items": {"$ref": "#"}}}}
    tree["required"] = ["kids"]
    compiler.compile(Grammar("json", json.dumps(tree)))
    pair = {
        "$ref": "#/$defs/a",
        "$defs": {
            "a": {"anyOf": [{"type": "null"}, {"$ref": "#/$defs/b"}]},
            "b": {"type": "array", "items": {"$ref": "#/$defs/a"}, "minItems": 1},
        },
    }
    compiler.compile(Grammar("json", json.dumps(pair)))
    pair["$defs"] = {
        "a": {"anyOf": [{"$ref": "#/$defs/b"}, {"$ref": "#/$defs/b"}]},
        "b": {"type": "array", "items": {"$ref": "#/$defs/a"}, "minItems": 1},
    }
    with pytest.raises(InvalidGrammar, match="endless"):
        compiler.compile(Grammar("json", json.dumps(pair)))


def test_json_may_be_laid_out_but_not_blank_for_ever(
    compiler: GrammarCompiler, byte_codec: TextCodec
) -> None:
    """Indented JSON passes; after 32 blanks, something else must come."""
    laid_out = json.dumps({"name": "A", "age": 1}, indent=4)
    matcher = compiler.compile(Grammar("json", PERSON))
    matcher.accept_all(byte_codec.encode(laid_out))
    assert matcher.is_finished
    matcher = compiler.compile(Grammar("json", PERSON))
    matcher.accept_all(byte_codec.encode("{"))
    (blank,) = byte_codec.encode(" ")
    for _ in range(32):
        assert blank in allowed(matcher, byte_codec.vocabulary)
        matcher.accept(blank)
    assert blank not in allowed(matcher, byte_codec.vocabulary)


def test_a_forbidden_token_is_an_error(compiler: GrammarCompiler, byte_codec: TextCodec) -> None:
    """Accepting what the mask forbids raises; it never passes silently."""
    matcher = compiler.compile(Grammar("regex", "a+"))
    with pytest.raises(EngineError, match="does not fit"):
        matcher.accept(byte_codec.encode("b")[0])


def test_forks_and_repeated_compiles_are_independent(
    compiler: GrammarCompiler, byte_codec: TextCodec
) -> None:
    """A branch goes its own way, and the cache always gives the grammar's start."""
    grammar = Grammar("regex", "ab|ac")
    matcher = compiler.compile(grammar)
    matcher.accept_all(byte_codec.encode("a"))
    branch = matcher.fork()
    matcher.accept_all(byte_codec.encode("b"))
    branch.accept_all(byte_codec.encode("c"))
    assert matcher.is_finished
    assert branch.is_finished
    fresh = allowed(compiler.compile(grammar), byte_codec.vocabulary)
    assert byte_codec.encode("a")[0] in fresh


def test_masks_fit_narrower_and_wider_logits(
    compiler: GrammarCompiler, byte_codec: TextCodec
) -> None:
    """Padding of the logits is forbidden; a mask for fewer logits is cut."""
    matchers = [compiler.compile(Grammar("regex", text)) for text in ("a", "b")]
    for vocabulary in (64, byte_codec.vocabulary, 1000):
        masks = new_masks(2, vocabulary)
        masks[:] = -1
        fill_masks(matchers, masks)
        bits = np.unpackbits(masks.view(np.uint8), axis=1, bitorder="little")
        assert not bits[:, byte_codec.vocabulary :].any()


def test_a_tokenizer_that_cannot_be_followed_is_named(word_codec: TextCodec) -> None:
    """A WordPiece model says why it takes no grammar."""
    with pytest.raises(UnsupportedModel, match="cannot follow a grammar"):
        GrammarCompiler(word_codec).compile(Grammar("regex", "a"))


def test_byte_fallback_tokenizers_follow_grammars(fallback_codec: TextCodec) -> None:
    """A Llama 2 style vocabulary is masked too."""
    matcher = GrammarCompiler(fallback_codec).compile(Grammar("regex", "hello"))
    tokens = {fallback_codec.token_text(id_) for id_ in allowed(matcher, fallback_codec.vocabulary)}
    assert tokens == {"he"}  # the longest entry, as the tokenizer itself would split the text
