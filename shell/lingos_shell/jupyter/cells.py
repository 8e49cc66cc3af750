"""Cells that mix Python with the shell's language, rewritten to plain Python.

What the language adds begins where no valid Python can: a logical line that begins with `/`, a
`/` right after an assignment's `=`, a cell that begins with `?` and a blank, or with `%%chat`. The
places are found among Python's own tokens, so a division, a string or a signature never is one, and
valid Python comes through as it is.
"""

from __future__ import annotations

import ast
import re
import tokenize
from collections.abc import Sequence
from itertools import pairwise

from IPython.core.inputtransformer2 import (
    TokenTransformBase,
    TransformerManager,
    make_tokens_by_line,
)

from lingos_shell.jupyter.interpolation import interpolate
from lingos_shell.language.parser import needs_more

_NOT_CODE = frozenset(
    {tokenize.INDENT, tokenize.DEDENT, tokenize.NL, tokenize.NEWLINE, tokenize.COMMENT}
)
_QUESTION = re.compile(r"\s*\?[ \t]+\S")
_CHAT = re.compile(r"%%chat(?:[ \t]+(?P<options>\S.*))?\n")
_HELP = re.compile(r"/[\w.-]+\?")
_CALL = re.compile(r"/[A-Za-z_]")

Tokens = Sequence[Sequence[tokenize.TokenInfo]]


class CallLine(TokenTransformBase):
    """`/name arguments` as a statement, or `/name?` for help."""

    priority = 1

    @classmethod
    def find(cls, tokens_by_line: Tokens) -> CallLine | None:
        """The first logical line that begins with a call."""
        for line in tokens_by_line:
            first = next((token for token in line if token.type not in _NOT_CODE), None)
            if first is not None and _is_call(first):
                return cls(first.start)
        return None

    def transform(self, lines: list[str]) -> list[str]:
        """The lines, with a Python call in the place of the line."""
        is_help = _HELP.fullmatch(lines[self.start_line][self.start_col :].rstrip())
        method = "lingos_help" if is_help else "lingos"
        return _replaced(lines, self.start_line, self.start_col, method=method)


class CallValue(TokenTransformBase):
    """`target = /name arguments`."""

    priority = 1

    @classmethod
    def find(cls, tokens_by_line: Tokens) -> CallValue | None:
        """The first assignment of a call."""
        for line in tokens_by_line:
            for before, token in pairwise(line):
                if before.string == "=" and before.type == tokenize.OP and _is_call(token):
                    return cls(token.start)
        return None

    def transform(self, lines: list[str]) -> list[str]:
        """The lines, with a Python call in the place of the value."""
        return _replaced(lines, self.start_line, self.start_col, method="lingos_value")


def talk_cell(lines: list[str]) -> list[str]:
    """A cell that begins with `? ` is a message as a whole; others come through as they are."""
    if not lines or not _QUESTION.match(lines[0]):
        return lines
    text = "".join(lines).lstrip().removeprefix("?").strip()
    return [f"{call_source('lingos_talk', text)}\n"]


def chat_cell(lines: list[str]) -> list[str]:
    """A `%%chat` cell is a message, with settings in its first line; others come through."""
    found = _CHAT.fullmatch(lines[0]) if lines else None
    text = "".join(lines[1:]).strip()
    if found is None or not text:
        return lines
    return [f"{call_source('lingos_talk', text, options=found['options'] or '')}\n"]


class CellTransformer(TransformerManager):
    """IPython's rewriting of cells that knows the language, before its own special forms.

    Invariant: a cell that is Python already comes through unchanged.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.cleanup_transforms[:0] = [talk_cell, chat_cell]
        self.token_transformers[:0] = [CallLine, CallValue]

    def transform_cell(self, cell: str) -> str:
        """The cell as Python."""
        if _is_python(cell):
            return cell if cell.endswith("\n") else f"{cell}\n"
        return str(super().transform_cell(cell))

    def is_open(self, cell: str) -> bool:
        """Whether a text of the language in the cell wants more lines."""
        lines = _lines(cell)
        while found := _first_call(lines):
            end, text = _extent(lines, found.start_line, found.start_col)
            if end == len(lines) and needs_more(text):
                return True
            lines = found.transform(lines)
        return False

    def line_at(self, cell: str, cursor: int) -> tuple[str | None, int]:
        """The text of the language that the cursor is in, and the cursor's place in it.

        None where the cell is Python.
        """
        if message := _QUESTION.match(cell) or _CHAT.match(cell):
            begin = message.end() - (message.re is _QUESTION)
            return (cell[begin:], cursor - begin) if cursor >= begin else (None, 0)
        begin = cell.rfind("\n", 0, cursor) + 1
        end = cell.find("\n", cursor)
        line = cell[begin : len(cell) if end < 0 else end]
        try:
            before = self.do_token_transforms(_lines(cell[:begin]) if begin else [])  # type: ignore[no-untyped-call]
        except (SyntaxError, RuntimeError):
            return None, 0
        for tokens in make_tokens_by_line([*before, f"{line}\n"]):
            for last, token in pairwise([None, *tokens]):
                is_here = token is not None and token.start[0] == len(before) + 1
                if is_here and token.string == "/" and _begins(last):
                    column = token.start[1]
                    at = cursor - begin - column
                    return (line[column:], at) if at > 0 else (None, 0)
        return None, 0


def call_source(method: str, text: str, *, options: str = "") -> str:
    """The Python that hands a text, and the values it names, to the shell.

    Expressions are evaluated on the spot; a `$name` only when it is used, since it may also be a
    variable of the language.
    """
    found = interpolate(text)
    values = ", ".join(f"{name!r}: ({source}\n)" for name, source in found.expressions.items())
    names = ", ".join(f"{name!r}: lambda: {name}" for name in found.names)
    more = f", options={options!r}" if options else ""
    return f"get_ipython().{method}({found.text!r}, {{{values}}}, {{{names}}}{more})"


def _is_python(cell: str) -> bool:
    try:
        ast.parse(cell)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    return True


def _is_call(token: tokenize.TokenInfo) -> bool:
    return token.string == "/" and bool(_CALL.match(token.line, token.start[1]))


def _replaced(lines: list[str], line: int, column: int, *, method: str) -> list[str]:
    """The lines with the shell's text that begins at the place as a Python call."""
    end, text = _extent(lines, line, column)
    code = lines[line][:column] + call_source(method, text) + "\n"
    return [*lines[:line], *code.splitlines(keepends=True), *lines[end:]]


def _extent(lines: list[str], line: int, column: int) -> tuple[int, str]:
    """The line after the text of the language that begins at the place, and the text."""
    end = line + 1
    text = lines[line][column:].rstrip("\n")
    while end < len(lines) and needs_more(text):
        text = f"{text}\n{lines[end]}".rstrip("\n")
        end += 1
    return end, text


def _first_call(lines: list[str]) -> CallLine | CallValue | None:
    tokens = make_tokens_by_line(lines)
    found = [call for call in (CallLine.find(tokens), CallValue.find(tokens)) if call]
    return min(found, key=lambda call: (call.start_line, call.start_col), default=None)


def _begins(last: tokenize.TokenInfo | None) -> bool:
    """Whether a call can follow the token."""
    return last is None or last.type in _NOT_CODE or last.string == "="


def _lines(cell: str) -> list[str]:
    return (cell if cell.endswith("\n") else f"{cell}\n").splitlines(keepends=True)
