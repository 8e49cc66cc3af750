"""Data on stdout, narration on stderr, and what happens when nobody listens."""

from __future__ import annotations

import subprocess
import sys

import pytest

from lingos_shell.output import write_json, write_table
from lingos_shell.tables import plain_table, printable

CLOSED = """
import sys
from lingos_shell.invocation import Invocation
from lingos_shell.command_line import execute
import lingos_shell.commands.config as config
from lingos_shell.output import write_line

def flood(*_):
    while True:
        write_line("x" * 100)

config.write_table = flood
sys.exit(execute(["config", "show"], Invocation()))
"""


def test_a_closed_pipe_is_quiet() -> None:
    """`lingos ... | head` prints no error and does not fail."""
    with subprocess.Popen(
        [sys.executable, "-c", CLOSED], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.readline()
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait(timeout=30) == 0


def test_json_is_utf8_and_indented(capsys: pytest.CaptureFixture[str]) -> None:
    """People read it, too."""
    write_json({"a": ["é"]})
    assert capsys.readouterr().out == '{\n  "a": [\n    "é"\n  ]\n}\n'


def test_piped_tables_are_not_folded(capsys: pytest.CaptureFixture[str]) -> None:
    """Columns keep their width and lines have no trailing blanks."""
    write_table(plain_table(("A", "B"), [("x" * 200, "1")], right=("B",)))
    header, row = capsys.readouterr().out.splitlines()
    assert row == "x" * 200 + "  1"
    assert header.endswith("B")


def test_control_characters_are_not_printed() -> None:
    """Names of others cannot move the cursor."""
    assert printable("a\x1b[2J\nb") == "a [2J b"
