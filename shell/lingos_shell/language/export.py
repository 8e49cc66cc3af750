"""A conversation as a file: Markdown, JSON, or a notebook that can be run.

Pure functions from what `ctx.show` answers to text.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import PurePath
from typing import Any

from lingos_kernel.errors import InvalidArguments
from lingos_shell.language.parser import ASK
from lingos_shell.language.printer import print_pipeline, print_word
from lingos_shell.language.reading import Reader
from lingos_shell.language.running_text import WHOLE_MESSAGE, read_running_text
from lingos_shell.language.syntax import Pipeline, Talk, Text, Word

Shown = Mapping[str, Any]
"""The answer of `ctx.show`."""
NAMES = {"system": "System", "user": "You", "assistant": "Model", "tool": "Tool"}
KERNEL = {"display_name": "LingOS (Python)", "language": "python", "name": "lingos"}
_BRACES = re.compile(r"\{[^{}]*\}")


def exported(shown: Shown, file: str) -> str:
    """The text of a file whose suffix says which form. Raises `InvalidArguments` for others."""
    suffix = PurePath(file).suffix.lower()
    if suffix not in FORMS:
        raise InvalidArguments(
            f"{file}: sessions are not written as {suffix or 'a file without a suffix'}",
            hint=f"the suffix says the form: {', '.join(FORMS)}",
        )
    return FORMS[suffix](shown)


def as_markdown(shown: Shown) -> str:
    """One section per message; what was said stands as it was said."""
    parts = [f"# {shown['name']}", f"*{shown['model']}, {shown.get('tokens', 0)} tokens*"]
    for message in _messages(shown):
        role = str(message["role"])
        parts.append(f"## {NAMES.get(role, role)}")
        if text := _text(message).strip():
            parts.append(text)
        parts += [_call_block(call) for call in message.get("tool_calls") or ()]
    return "\n\n".join(parts) + "\n"


def _call_block(call: Mapping[str, Any]) -> str:
    written = json.dumps(call.get("function", call), ensure_ascii=False, indent=2)
    return f"```json\n{written}\n```"


def as_json(shown: Shown) -> str:
    """The whole answer of `ctx.show`, readable."""
    return json.dumps(shown, ensure_ascii=False, indent=2) + "\n"


def as_notebook(shown: Shown) -> str:
    """A notebook (nbformat 4.5) for the LingOS kernel: a cell per message, its answer below.

    Run again, it holds the same conversation anew; its system prompt and model are set first.
    """
    messages = _messages(shown)
    cells = [_markdown_cell(f"# {shown['name']}")]
    cells.append(_code_cell(f"/model {print_word(_word(str(shown['model'])))}"))
    system = next((_text(m) for m in messages if m["role"] in ("system", "developer")), "")
    if system:
        cells.append(_code_cell(f"/set system {print_word(_word(system))}"))
    for message in messages:
        _add_cell(cells, message)
    for number, cell in enumerate(cells):
        cell["id"] = hashlib.sha256(f"{number} {cell['source']}".encode()).hexdigest()[:8]
    notebook = {
        "cells": cells,
        "metadata": {"kernelspec": KERNEL, "language_info": {"name": "python"}},
        "nbformat": 4,
        "nbformat_minor": 5,
    }
    return json.dumps(notebook, ensure_ascii=False, indent=1) + "\n"


def _add_cell(cells: list[dict[str, Any]], message: Mapping[str, Any]) -> None:
    """A message of the person becomes a cell, what follows an output of it."""
    text = _text(message).strip()
    role = str(message["role"])
    if role == "user":
        cells.append(_code_cell(f"? {in_cell(text)}" if text else ""))
        return
    if role in ("system", "developer") or cells[-1]["cell_type"] != "code":
        return
    parts = [text] if text else []
    parts += [_call_block(call) for call in message.get("tool_calls") or ()]
    for part in parts:
        shown = f"**{message.get('name', 'tool')}**: {part}" if role == "tool" else part
        cells[-1]["outputs"].append(
            {
                "output_type": "display_data",
                "data": {"text/markdown": shown, "text/plain": shown},
                "metadata": {},
            }
        )


def in_cell(text: str) -> str:
    """A text as a cell's message that means just the text: no Python, variables or files in it.

    It stands as it is where that is so, else with escapes, else as a Python string.
    """
    escaped = print_pipeline(Pipeline((Talk(_word(text)),))).removeprefix(f"/{ASK} ")
    joined = escaped.replace("\\\n", "\n")
    candidates = [text, joined, escaped]
    candidates += [_BRACES.sub(r"{\g<0>}", candidate) for candidate in candidates]
    plain = (c for c in candidates if not c.startswith("-") and _meant(c) == text)
    return next(plain, f"{{{text!r}}}")


def _meant(source: str) -> str | None:
    """The message that a cell with the source sends; None when more than text is in it."""
    from lingos_shell.jupyter.interpolation import interpolate

    found = interpolate(source)
    reader = Reader(found.text)
    word = read_running_text(reader, WHOLE_MESSAGE)
    if found.expressions or reader.peek():
        return None
    match word.parts:
        case (Text(text),):
            return text
    return None


def _word(text: str) -> Word:
    return Word((Text(text),))


def _messages(shown: Shown) -> Sequence[Mapping[str, Any]]:
    return [message for message in shown["messages"] if message.get("whole", True)]


def _text(message: Mapping[str, Any]) -> str:
    return str(message.get("content") or "")


def _markdown_cell(text: str) -> dict[str, Any]:
    return {"cell_type": "markdown", "id": "", "metadata": {}, "source": text}


def _code_cell(text: str) -> dict[str, Any]:
    return {
        "cell_type": "code", "execution_count": None, "id": "", "metadata": {}, "outputs": [],
        "source": text,
    }  # fmt: skip


FORMS: Mapping[str, Callable[[Shown], str]] = {
    ".md": as_markdown,
    ".json": as_json,
    ".ipynb": as_notebook,
}
