"""The text of a growing sequence: whole characters, cut at the first stop string."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lingos_kernel.engine.detokenizer import Detokenizer, first_stop
from lingos_kernel.engine.messages import SamplingParams
from lingos_kernel.models.text_codec import TextCodec

shared_codec = settings(
    deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=150
)

SCRIPTS = st.one_of(
    st.text(max_size=30),
    st.text(alphabet="中文字符測試，。", max_size=20),
    st.text(alphabet="مرحبا بالعالم ًٌٍ", max_size=20),
    st.text(alphabet="👩‍👩‍👧‍👦🏳️‍🌈👍🏽é", max_size=15),
    st.text(alphabet="abh ello.\n", max_size=30),
)


def stream(codec: TextCodec, ids: Sequence[int], stop: tuple[str, ...] = ()) -> list[str]:
    """All pieces that a detokenizer emits for the tokens."""
    detokenizer = Detokenizer(codec, SamplingParams(stop=stop))
    pieces = []
    for token_id in ids:
        text, stopped = detokenizer.push(token_id)
        pieces.append(text)
        if stopped:
            break
    return [*pieces, detokenizer.finish()]


def cut(text: str, stops: Sequence[str]) -> str:
    """The text up to the first complete stop string, character by character."""
    for end in range(len(text) + 1):
        for stop in sorted(stops, key=len, reverse=True):
            if text[:end].endswith(stop):
                return text[: end - len(stop)]
    return text


@shared_codec
@given(data=st.data())
def test_any_tokens_stream_to_their_decoded_text(any_codec: TextCodec, data: st.DataObject) -> None:
    """Whatever the tokens, even invalid UTF-8, the pieces join to what the decoder gives."""
    ids = data.draw(st.lists(st.integers(0, any_codec.vocabulary + 3), max_size=40))
    pieces = stream(any_codec, ids)
    assert "".join(pieces) == any_codec.decode(ids)


@shared_codec
@given(text=SCRIPTS, data=st.data())
def test_stop_strings_cut_any_split_at_the_same_place(
    byte_codec: TextCodec, text: str, data: st.DataObject
) -> None:
    """However a text is split into tokens, it ends before the first complete stop string."""
    stops = data.draw(st.lists(st.text(alphabet=text or "a", min_size=1, max_size=4), max_size=3))
    cuts = data.draw(st.lists(st.integers(0, len(text)), max_size=6))
    borders = [0, *sorted(cuts), len(text)]
    parts = [text[a:b] for a, b in itertools.pairwise(borders)]
    ids = [id_ for part in parts for id_ in byte_codec.encode(part, control=False)]
    assert "".join(stream(byte_codec, ids, tuple(stops))) == cut(text, stops)


@shared_codec
@given(data=st.data())
def test_replay_restores_the_state(any_codec: TextCodec, data: st.DataObject) -> None:
    """A second detokenizer that is given the same tokens goes on with the same text."""
    ids = data.draw(st.lists(st.integers(0, any_codec.vocabulary - 1), min_size=1, max_size=30))
    crash = data.draw(st.integers(0, len(ids)))
    params = SamplingParams(stop=("lo", "he"))
    first, second = Detokenizer(any_codec, params), Detokenizer(any_codec, params)
    for token_id in ids[:crash]:
        first.push(token_id)
        second.push(token_id)
    fork = first.fork()
    rest = [[d.push(id_) for id_ in ids[crash:]] + [d.finish()] for d in (first, second, fork)]
    assert rest[0] == rest[1] == rest[2]


@pytest.mark.model
@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=SCRIPTS, stop=st.lists(st.text(min_size=1, max_size=5), max_size=2))
def test_real_tokenizer_streams_every_script(
    real_codec: TextCodec, text: str, stop: list[str]
) -> None:
    """With the default model's tokenizer, every script comes out as decoded, up to a stop."""
    ids = real_codec.encode(text, control=False)
    # Its vocabulary lacks some bytes, so not every text survives encoding itself.
    assert "".join(stream(real_codec, ids, tuple(stop))) == cut(real_codec.decode(ids), stop)


def test_half_a_character_is_never_emitted(byte_codec: TextCodec) -> None:
    """The bytes of an emoji come out with the last of them."""
    ids = byte_codec.encode("👍")
    assert len(ids) == 4
    assert stream(byte_codec, ids) == ["", "", "", "👍", ""]
    assert "".join(stream(byte_codec, ids[:3])) == "�"


def test_a_stop_string_may_span_tokens(byte_codec: TextCodec) -> None:
    """What may become a stop string is held back, and released when it does not."""
    ids = [byte_codec.encode(character)[0] for character in "aSTaSTO"]
    assert stream(byte_codec, ids, ("STOP",)) == ["a", "", "", "STa", "", "", "", "STO"]
    ids += byte_codec.encode("P")
    detokenizer = Detokenizer(byte_codec, SamplingParams(stop=("STOP",)))
    results = [detokenizer.push(id_) for id_ in ids]
    assert results[-1] == ("", True)
    assert "".join(text for text, _ in results) == "aSTa"
    assert detokenizer.is_stopped
    assert detokenizer.push(ids[0]) == ("", True)
    assert detokenizer.finish() == ""


def test_a_stop_string_may_stand_inside_a_token(byte_codec: TextCodec) -> None:
    """The part of the token before the stop string is emitted, the rest is not."""
    (token_id,) = byte_codec.encode(" quick")
    detokenizer = Detokenizer(byte_codec, SamplingParams(stop=("ic",)))
    assert detokenizer.push(token_id) == (" qu", True)


def test_stop_strings_wait_for_min_tokens(byte_codec: TextCodec) -> None:
    """A stop string within the first min_tokens tokens does not end the text."""
    detokenizer = Detokenizer(byte_codec, SamplingParams(stop=("a",), min_tokens=2))
    a = byte_codec.encode("a")[0]
    assert [detokenizer.push(a) for _ in range(3)] == [("a", False), ("a", False), ("", True)]


def test_special_tokens_have_no_text(byte_codec: TextCodec) -> None:
    """Control tokens in the output do not show."""
    ids = [*byte_codec.encode("a"), *byte_codec.eos_ids, *byte_codec.encode("b")]
    assert "".join(stream(byte_codec, ids)) == "ab"


def test_a_prompt_keeps_the_leading_blank(fallback_codec: TextCodec) -> None:
    """The first word's blank is dropped at the start of a text only, not after a prompt."""
    (word,) = [fallback_codec.tokenizer.token_to_id("▁he")]
    bos = fallback_codec.tokenizer.token_to_id("<s>")
    alone = Detokenizer(fallback_codec, SamplingParams(), prompt_ids=[bos])
    after = Detokenizer(fallback_codec, SamplingParams(), prompt_ids=[bos, word])
    assert alone.push(word) == ("he", False)
    assert after.push(word) == (" he", False)


def test_the_first_complete_stop_string_counts() -> None:
    """Of two stop strings, the one that is complete first ends the text."""
    assert first_stop("xabc", ("abc", "b")) == 2
    assert first_stop("xabc", ("bc", "abc")) == 1
    assert first_stop("xabc", ("z",)) is None
