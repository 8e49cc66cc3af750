"""Docstrings (Google style) as help: summary, text, and a line per argument."""

from __future__ import annotations

import inspect
import re
from dataclasses import dataclass

_SECTION = re.compile(r"^(Args|Arguments|Returns|Yields|Raises|Example|Examples|Note|Notes):\s*$")
_ARGUMENT = re.compile(r"^\s+\*{0,2}(\w+)(?:\s*\([^)]*\))?:\s*(.*)$")


@dataclass(frozen=True, slots=True)
class Docs:
    """What a docstring says."""

    summary: str
    """The first paragraph, on one line."""
    help: str
    """The rest without the argument section."""
    arguments: dict[str, str]


def parse_docstring(docstring: str | None) -> Docs:
    """The parts of a docstring; empty ones where it says nothing."""
    if not docstring:
        return Docs("", "", {})
    lines = inspect.cleandoc(docstring).splitlines()
    body, arguments = _split_arguments(lines)
    head, _, rest = "\n".join(body).strip().partition("\n\n")
    return Docs(" ".join(head.split()), rest.strip(), arguments)


def _split_arguments(lines: list[str]) -> tuple[list[str], dict[str, str]]:
    body: list[str] = []
    arguments: dict[str, list[str]] = {}
    inside, current, indent = False, None, 0
    for line in lines:
        if section := _SECTION.match(line):
            inside = section[1].startswith("Arg")
        elif inside and line.strip() and not line[0].isspace():
            inside = False  # unindented text ends the section
        if not inside:
            body.append(line)
            continue
        depth = len(line) - len(line.lstrip())
        found = _ARGUMENT.match(line)
        if found and (current is None or depth <= indent):
            current, indent = found[1], depth
            arguments[current] = [found[2]]
        elif current is not None and line.strip():
            arguments[current].append(line.strip())
    return body, {name: " ".join(text).strip() for name, text in arguments.items()}
