"""Reasoning that a model writes before its answer, between `<think>` and `</think>`."""

from __future__ import annotations

OPEN, CLOSE = "<think>", "</think>"


def split_reasoning(text: str) -> tuple[str, str]:
    """Reasoning and answer of a text that may still grow; marks that are half there are held back.

    A text that closes reasoning without having opened it began within: some chat templates open it
    themselves. Marks further inside the answer are part of it.
    """
    begun = text.lstrip()
    if begun.startswith(OPEN):
        reasoning, closed, answer = begun[len(OPEN) :].partition(CLOSE)
        if not closed:
            return _without_part_of(CLOSE, reasoning).strip("\n"), ""
        return reasoning.strip("\n"), answer.lstrip("\n")
    if OPEN.startswith(begun) and begun:
        return "", ""
    reasoning, closed, answer = text.partition(CLOSE)
    if closed and OPEN not in reasoning:
        return reasoning.strip("\n"), answer.lstrip("\n")
    return "", text


def _without_part_of(mark: str, text: str) -> str:
    for size in range(min(len(mark) - 1, len(text)), 0, -1):
        if text.endswith(mark[:size]):
            return text[:-size]
    return text
