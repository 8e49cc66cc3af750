"""Splitting text into chunks."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from lingos_text.chunking import chunks, sentences


def by_words(pieces: list[str]) -> list[int]:
    """Counts words; even white space costs something, as with real tokens."""
    return [max(len(piece.split()), 1) for piece in pieces]


def by_characters(pieces: list[str]) -> list[int]:
    """Counts characters: the finest possible tokens."""
    return [len(piece) for piece in pieces]


def test_sentences_end_at_marks_of_several_scripts() -> None:
    """Latin and Chinese marks end a sentence, and blank lines do."""
    assert sentences("One. Two! 三。四？\n\nfive") == ["One. ", "Two! ", "三。", "四？\n\n", "five"]


@given(st.text(max_size=300))
def test_sentences_lose_nothing(text: str) -> None:
    """Joined again, sentences are the text."""
    assert "".join(sentences(text)) == text


@given(st.text(min_size=1, max_size=300), st.integers(1, 40), st.integers(0, 20))
def test_chunks_are_bounded_and_cover_the_text(text: str, limit: int, overlap: int) -> None:
    """No chunk exceeds the limit, each is where it says, and together they are the whole text."""
    found = chunks(text, by_characters, limit=limit, overlap=overlap)
    covered = 0
    for chunk in found:
        assert len(chunk.text) == chunk.tokens <= limit
        assert text[chunk.start : chunk.end] == chunk.text
        assert chunk.start <= covered < chunk.end
        covered = chunk.end
    assert covered == len(text)


def test_neighbours_overlap_by_whole_sentences() -> None:
    """A chunk begins with the end of the one before it, as far as the overlap allows."""
    text = "a b c. d e f. g h i. j k l. "
    found = chunks(text, by_words, limit=6, overlap=3)
    assert [chunk.text for chunk in found] == [
        "a b c. d e f. ",
        "d e f. g h i. ",
        "g h i. j k l. ",
    ]


def test_a_long_sentence_is_cut_at_words() -> None:
    """Words stay whole where a sentence does not fit."""
    found = chunks("alpha beta gamma delta", by_words, limit=2)
    assert [chunk.text for chunk in found] == ["alpha beta ", "gamma delta"]
