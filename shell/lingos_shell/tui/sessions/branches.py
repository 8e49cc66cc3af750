"""Branches of a conversation: contexts that were forked from each other, seen from one of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

Messages = Sequence[Mapping[str, Any]]
"""As `ctx.show` gives them: each with the token at which it ends."""


def family_of(name: str, heads: Iterable[Mapping[str, Any]]) -> list[str]:
    """The contexts that descend from the same one as `name`, the oldest first; with itself.

    The one that they all come from may have been renamed or removed.
    """
    listed = {str(head["name"]): head for head in heads}
    root = _root(name, listed)
    kin = [head for own, head in listed.items() if _root(own, listed) == root]
    return [str(head["name"]) for head in sorted(kin, key=lambda head: head["created_s"])]


def _root(name: str, listed: Mapping[str, Mapping[str, Any]]) -> str:
    seen: set[str] = set()
    while name in listed and name not in seen and (parent := listed[name]["forked_from"]):
        seen.add(name)
        name = str(parent)
    return name


def branch_points(name: str, shown: Mapping[str, Messages]) -> dict[int, list[str]]:
    """Where the conversation could have gone otherwise: token to names of contexts, oldest first.

    A key is the token at which a message of `name` begins. The names are contexts that hold the
    same up to there and a message of their own from there on; `name` is one of them. `shown` is
    the whole family, in order.
    """
    points: dict[int, list[str]] = {}
    for place, message in enumerate(shown[name]):
        if message["role"] != "user":
            continue
        own = shown[name][:place]
        options: dict[str, str] = {_key(message): name}
        for other, messages in shown.items():
            if len(messages) > place and _same(own, messages[:place]):
                options.setdefault(_key(messages[place]), other)
        if len(options) > 1:
            chosen = set(options.values())
            points[start_of(shown[name], place)] = [other for other in shown if other in chosen]
    return points


def start_of(messages: Messages, place: int) -> int:
    """The token at which a message begins."""
    return int(messages[place - 1]["end"]) if place else 0


def last_user(messages: Messages) -> int | None:
    """The place of the last message of the person."""
    places = (n for n in range(len(messages) - 1, -1, -1) if messages[n]["role"] == "user")
    return next(places, None)


def branch_name(name: str, taken: Iterable[str]) -> str:
    """A name for a fork: `talk:2`, `talk:3`, ..."""
    stem, _, number = name.rpartition(":")
    base = (stem if stem and number.isdecimal() else name)[:120]
    known = set(taken)
    return next(f"{base}:{n}" for n in range(2, len(known) + 3) if f"{base}:{n}" not in known)


def _same(one: Messages, other: Messages) -> bool:
    return len(one) == len(other) and all(
        _key(a) == _key(b) and a["end"] == b["end"] for a, b in zip(one, other, strict=True)
    )


def _key(message: Mapping[str, Any]) -> str:
    return f"{message['role']} {message.get('content')} {message.get('tool_calls')}"
