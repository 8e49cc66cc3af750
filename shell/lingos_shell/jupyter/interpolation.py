"""Python values in a line of the shell's language: `{expression}` and `$name`."""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass

from lingos_shell.language.syntax import NAME

_VARIABLE = re.compile(rf"\$\{{?({NAME.pattern})", re.ASCII)
_BRACED_VARIABLE = re.compile(rf"\$\{{{NAME.pattern}[\w.-]*\}}", re.ASCII)
_ESCAPED = re.compile(r"\{(\{[^{}]*\})\}")


@dataclass(frozen=True, slots=True)
class Interpolated:
    """A text whose expressions have become variables."""

    text: str
    expressions: dict[str, str]
    """By the name of the variable that stands in the text for it."""
    names: tuple[str, ...]
    """Every `$name` in the text that is not one of these."""


def interpolate(text: str) -> Interpolated:
    """Find the Python in a text.

    `{expression}` is replaced where what stands in the braces is an expression; all other braces,
    such as those of JSON, are text. `{{...}}` is a text in single braces.
    """
    expressions: dict[str, str] = {}
    pieces: list[str] = []
    at = 0
    while at < len(text):
        if found := _BRACED_VARIABLE.match(text, at) or _ESCAPED.match(text, at):
            pieces.append(found[found.lastindex or 0])
            at = found.end()
        elif text[at] == "{" and (end := _expression_end(text, at)):
            name = f"__{len(expressions)}"
            expressions[name] = text[at + 1 : end].strip()
            pieces.append(f"${{{name}}}")
            at = end + 1
        else:
            pieces.append(text[at])
            at += 1
    names = tuple(dict.fromkeys(_VARIABLE.findall("".join(pieces))))
    return Interpolated(
        "".join(pieces), expressions, tuple(n for n in names if n not in expressions)
    )


def open_expression(text: str) -> str | None:
    """The Python in the brace that is open at the end of the text; None where there is none."""
    at = 0
    while (at := text.find("{", at)) >= 0:
        if found := _ESCAPED.match(text, at):
            at = found.end()
        elif end := _expression_end(text, at):
            at = end + 1
        else:
            inside = text[at + 1 :]
            is_python = text[at - 1 : at] != "$" and not inside.lstrip().startswith(("{", '"'))
            return inside if is_python else None
    return None


def _expression_end(text: str, begin: int) -> int:
    """Where the brace closes that makes an expression with the one at `begin`; 0 if none does."""
    end = text.find("}", begin)
    while end > 0:
        if _is_expression(text[begin + 1 : end]):
            return end
        end = text.find("}", end + 1)
    return 0


def _is_expression(source: str) -> bool:
    try:
        ast.parse(f"({source.strip()}\n)", mode="eval")
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    return bool(source.strip())
