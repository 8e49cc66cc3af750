"""Tests of the rewriting of cells."""

from __future__ import annotations

import ast
import sysconfig
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("IPython")

from IPython.core.inputtransformer2 import TransformerManager

from lingos_shell.jupyter.cells import CellTransformer
from lingos_shell.jupyter.interpolation import interpolate, open_expression

LIBRARY = Path(sysconfig.get_path("stdlib"))


@pytest.fixture
def manager() -> TransformerManager:
    """IPython's manager, knowing the language."""
    return CellTransformer()


class Shell:
    """Stands for IPython's shell: keeps what the rewritten cell asks of it."""

    def __init__(self) -> None:
        self.said: list[tuple[str, str, dict[str, Any], dict[str, Any]]] = []

    def lingos(self, text: str, values: dict[str, Any], names: dict[str, Any]) -> None:
        """A statement."""
        self.said.append(("lingos", text, values, names))

    def lingos_value(self, text: str, values: dict[str, Any], names: dict[str, Any]) -> str:
        """An assigned value."""
        self.said.append(("value", text, values, names))
        return "result"

    def lingos_talk(
        self, text: str, values: dict[str, Any], names: dict[str, Any], *, options: str = ""
    ) -> None:
        """A message."""
        self.said.append((f"talk {options}".strip(), text, values, names))


def run(manager: TransformerManager, cell: str, **names: Any) -> tuple[Shell, dict[str, Any]]:
    """Rewrite and run a cell; what it asked of the shell, and its names."""
    shell = Shell()
    space: dict[str, Any] = {"get_ipython": lambda: shell, **names}
    exec(manager.transform_cell(cell), space)  # what a notebook does
    return shell, space


@pytest.mark.parametrize(
    ("cell", "text"),
    [
        ("/summarize report.txt", "/summarize report.txt"),
        ("x = 1\n/summarize report.txt\ny = 2", "/summarize report.txt"),
        ("if True:\n    /text.ask 'what is it?' | /translate --to de", None),
        ("/ask what's new?", "/ask what's new?"),
        ("/ask is this (open", "/ask is this (open"),
        ('/ask """\nthree\nlines\n"""\nx = 1', '/ask """\nthree\nlines\n"""'),
        ("/ask one \\\n  two", "/ask one \\\n  two"),
        ("def f():\n    /ps\nf()", "/ps"),
    ],
)
def test_a_line_that_begins_with_a_slash_is_a_call(
    manager: TransformerManager, cell: str, text: str | None
) -> None:
    """A logical line that begins with a slash and a name goes to the shell as it stands."""
    shell, _ = run(manager, cell)
    assert len(shell.said) == 1
    if text is not None:
        assert shell.said[0][:2] == ("lingos", text)


def test_an_assigned_call_gives_its_value(manager: TransformerManager) -> None:
    """`name = /call` assigns, also within a function and to several targets."""
    shell, space = run(manager, "def f():\n    a = b = /ps --all\n    return b\nans = f()")
    assert space["ans"] == "result"
    assert shell.said[0][:2] == ("value", "/ps --all")


def test_expressions_and_names_carry_values(manager: TransformerManager) -> None:
    """`{expression}` is evaluated where it stands; `$name` is looked up when it is used."""
    cell = "def f(path):\n    /summarize {path + '.txt'} --lang $lang --missing $nowhere\nf('a')"
    shell, _ = run(manager, cell, lang="de")
    _, text, values, names = shell.said[0]
    assert text == "/summarize ${__0} --lang $lang --missing $nowhere"
    assert values == {"__0": "a.txt"}
    assert names["lang"]() == "de"
    with pytest.raises(NameError):
        names["nowhere"]()


def test_json_stays_json() -> None:
    """Braces that hold no expression are text, and doubled ones stand for single ones."""
    schema = '/extract --schema {"type": "object", "properties": {"a": {"type": "integer"}}}'
    assert interpolate(schema).text == schema
    assert interpolate("{{name}} and {}").text == "{name} and {}"
    assert interpolate("${name.field} {1}").text == "${name.field} ${__0}"


def test_a_question_cell_is_a_message(manager: TransformerManager) -> None:
    """A cell that begins with `? ` is a message with all its lines; `?name` stays IPython's."""
    shell, _ = run(manager, "? What is {1 + 1}?\nSay it briefly.")
    kind, text, values, _ = shell.said[0]
    assert (kind, text, values) == ("talk", "What is ${__0}?\nSay it briefly.", {"__0": 2})
    assert "pinfo" in manager.transform_cell("?print")


def test_a_chat_cell_is_a_message_with_settings(manager: TransformerManager) -> None:
    """`%%chat` takes settings in its first line; values are Python's."""
    shell, _ = run(manager, "%%chat --temperature 0\nTell me\nof {n + 1}.\n", n=1)
    assert shell.said == [
        ("talk --temperature 0", "Tell me\nof ${__0}.", {"__0": 2}, {}),
    ]


@pytest.mark.parametrize(
    ("cell", "line"),
    [
        ("/ps {a.b", "/ps {a.b"),
        ("x = 1\ny = /ps {a.b", "/ps {a.b"),
        ("? say {a.b", "say {a.b"),
        ("%%chat --seed 1\nsay {a.b", "say {a.b"),
        ("%%chat --se", None),
        ("x = {a.b", None),
    ],
)
def test_the_place_in_a_line_of_the_language(
    manager: CellTransformer, cell: str, line: str | None
) -> None:
    """Completion knows which part of a cell is the language's."""
    found, at = manager.line_at(cell, len(cell))
    assert found == line
    assert at == len(line or "")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("/print {a.up", "a.up"),
        ("/print {f(x)} {b", "b"),
        ("/print {f(", "f("),
        ("/print {{a.up", None),
        ('/print {"a": b', None),
        ("/print ${a", None),
        ("/print {a} b", None),
        ("/print a", None),
    ],
)
def test_an_open_expression_is_found(text: str, expected: str | None) -> None:
    """Python is completed inside an open brace alone; JSON and `{{` are text."""
    assert open_expression(text) == expected


def test_ipython_forms_stay(manager: TransformerManager) -> None:
    """Magics, host commands and help are IPython's, as before."""
    plain = TransformerManager()
    for cell in ("%time x = 1", "!ls", "x = !ls", "print?", "%%bash\nls /tmp\n", "a = %pwd"):
        assert manager.transform_cell(cell) == plain.transform_cell(cell)


def test_python_of_the_library_comes_through(manager: TransformerManager) -> None:
    """Valid Python files compile to the same tree after the rewriting."""
    files = sorted(LIBRARY.glob("*.py"))[::6]
    assert len(files) > 20
    for file in files:
        source = file.read_text(encoding="utf-8")
        rewritten = manager.transform_cell(source)
        assert ast.dump(ast.parse(rewritten)) == ast.dump(ast.parse(source)), file


_ATOMS = st.sampled_from(["a", "b", "1", "'/ps'", '"""\n/ps x\n"""', "(a\n/ b)", "a \\\n/ b"])
_STATEMENTS = st.builds(
    "{}{}\n".format,
    st.sampled_from(["", "x = ", "x /= ", "def f(a, /, b=1): return ", "x = lambda a, /: ", "# "]),
    st.lists(_ATOMS, min_size=1, max_size=4).map(" / ".join),
)


@settings(deadline=None)
@given(st.lists(_STATEMENTS, min_size=1, max_size=6).map("".join))
def test_valid_python_is_never_rewritten(source: str) -> None:
    """Divisions, strings, comments and signatures stay what they are, beside a call too."""
    try:
        tree = ast.parse(source)
    except SyntaxError:
        return
    manager = CellTransformer()
    assert ast.dump(ast.parse(manager.transform_cell(source))) == ast.dump(tree)
    *before, _call = ast.parse(manager.transform_cell(f"{source}/ps\n")).body
    assert [ast.dump(node) for node in before] == [ast.dump(node) for node in tree.body]
