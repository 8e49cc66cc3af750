"""Candidates and selection of keywords."""

from __future__ import annotations

from lingos_text.extraction import MAX_CANDIDATES, candidates, closed, most_relevant


def test_candidates_are_phrases_without_stop_words_at_their_ends() -> None:
    """Phrases keep inner stop words, never outer ones, and do not cross marks."""
    found = candidates("The bank of England, raised rates.")
    assert "bank of england" in found
    assert "raised rates" in found
    assert not any(phrase.startswith("the ") or phrase.endswith(" of") for phrase in found)
    assert not any("england raised" in phrase for phrase in found)


def test_candidates_are_bounded() -> None:
    """A long text gives its most frequent phrases only."""
    words = [f"word{chr(97 + i % 26)}{chr(97 + i // 26)}" for i in range(600)]
    assert len(candidates(" ".join([*words, "often often often"]))) == MAX_CANDIDATES


def test_most_relevant_prefers_unlike_items() -> None:
    """With diversity a near repeat comes after something new; without it the order is by score."""
    vectors = [[1.0, 0.0], [0.999, 0.001], [0.0, 1.0]]
    scores = [0.9, 0.89, 0.5]
    assert most_relevant(scores, vectors, limit=3, diversity=0.6) == [0, 2, 1]
    assert most_relevant(scores, vectors, limit=2, diversity=0.0) == [0, 1]


def test_objects_are_closed_unless_they_say_more() -> None:
    """Nested objects too; one that allows more keeps what it says; a property may be so named."""
    open_one = {"type": "object", "properties": {}, "additionalProperties": True}
    schema = {
        "type": "object",
        "properties": {
            "properties": {"type": "string"},
            "free": open_one,
            "rows": {"type": "array", "items": {"type": "object", "properties": {"a": {}}}},
        },
    }
    found = closed(schema)
    assert found["additionalProperties"] is False
    assert found["properties"]["properties"] == {"type": "string"}
    assert found["properties"]["free"] == open_one
    assert found["properties"]["rows"]["items"]["additionalProperties"] is False
