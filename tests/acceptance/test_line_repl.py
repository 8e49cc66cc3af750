"""`lingos sh` on a terminal, typed at as a person does, with the real default model."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pexpect
import pytest

from lingos_kernel.models.store import ModelStore, StoredModel

pytestmark = [pytest.mark.model, pytest.mark.slow, pytest.mark.timeout(300)]

LINGOS = [sys.executable, "-m", "lingos_shell"]
PROMPT = r"(?s)>[ \x1b].*?\x1b\[\?25h"
"""The line editor draws the prompt and then shows the cursor."""
SEQUENCE = re.compile(r"\x1b(?:\[[0-9;?]*[A-Za-z]|[78=>]|\][^\x07]*\x07)")
Spawn = Callable[..., Any]


@pytest.fixture(scope="module")
def environ(
    tmp_path_factory: pytest.TempPathFactory, model_store: ModelStore, default_model: StoredModel
) -> Iterator[dict[str, str]]:
    """A user with a fresh home; the kernel that the tests start is stopped at the end."""
    clean = {key: value for key, value in os.environ.items() if not key.startswith("LINGOS_")}
    clean |= {
        "LINGOS_HOME": str(tmp_path_factory.mktemp("home")),
        "LINGOS_MODELS_STORE": str(model_store.root),
        "TERM": "xterm-256color",
        "PROMPT_TOOLKIT_NO_CPR": "1",
        "SHELL": "/bin/sh",
    }
    yield clean
    subprocess.run([*LINGOS, "kernel", "stop"], env=clean, check=True, capture_output=True)


@pytest.fixture
def spawn(environ: dict[str, str], tmp_path: Path) -> Iterator[Spawn]:
    """Starts `lingos sh` on a terminal of its own."""
    children = []

    def start(*words: str, rows: int = 40, columns: int = 120, **variables: str) -> Any:
        child = pexpect.spawn(
            sys.executable,
            ["-m", "lingos_shell", "sh", *words],
            env=environ | variables,
            cwd=str(tmp_path),
            timeout=120,
            encoding="utf-8",
            dimensions=(rows, columns),
        )
        children.append(child)
        return child

    yield start
    for child in children:
        child.close(force=True)


def leave(child: Any, *, prompt: str = PROMPT) -> None:
    """Ctrl-D leaves, with exit code 0.

    It is pressed at a prompt: while a command runs, the terminal's driver has it, not the editor.
    A prompt matches also when it is drawn anew beside what is typed, so an output comes first that
    no typed line looks like.
    """
    child.sendline("!printf 'le%s' aving")
    child.expect("leaving")
    child.expect(prompt)
    child.sendeof()
    child.expect(pexpect.EOF)
    child.wait()
    assert child.exitstatus == 0


def said(child: Any) -> str:
    """What was on the screen before the last match, without its colours."""
    return SEQUENCE.sub("", child.before)


def test_a_sitting(spawn: Spawn, tmp_path: Path) -> None:
    """What is typed while the kernel starts is answered; pipes, variables, files and the host."""
    child = spawn()
    child.expect(PROMPT)
    child.sendline("What is the capital of France? Answer in one sentence.")
    child.expect("Paris")
    child.expect(PROMPT)
    child.sendline("answer = /llm.tokenize $_")
    child.expect(PROMPT)
    child.sendline("/print there are $answer.count tokens")
    child.expect(r"there are \d+ tokens")
    child.expect(PROMPT)
    child.sendline("!echo deutsch | /text.chunk > chunks.json")
    child.expect("wrote")
    child.expect(PROMPT)
    assert json.loads((tmp_path / "chunks.json").read_text())[0]["text"].strip() == "deutsch"
    child.sendline("/ps")
    child.expect("smollm2-135m-instruct")
    child.expect(PROMPT)
    child.sendline("/session")
    child.expect("what-is-the-capital")
    child.expect(PROMPT)
    leave(child)


def test_ctrl_c_stops_the_answer_and_nothing_else(spawn: Spawn, environ: dict[str, str]) -> None:
    """Nothing runs on in the kernel; at the prompt it empties the line."""
    child = spawn()
    child.expect(PROMPT)
    child.sendline("Write a very long story about a dog.")
    child.expect("1 running")
    child.sendintr()
    child.expect("stopped")
    child.expect(PROMPT)
    done = subprocess.run(
        [*LINGOS, "ps", "--json"], env=environ, check=True, capture_output=True, timeout=60
    )
    busy = [row["command"] for row in json.loads(done.stdout) if row["state"] == "running"]
    assert busy == ["proc.list"]
    child.send("half a line")
    child.sendintr()
    child.sendline("/print whole")
    child.expect(r"whole\r\n")
    child.expect(PROMPT)
    child.sendintr()
    child.sendline("/print alive")
    child.expect(r"alive\r\n")
    child.expect(PROMPT)
    leave(child)


def test_a_session_is_there_again(spawn: Spawn) -> None:
    """Its name opens it in another sitting, with what was said."""
    child = spawn("--session", "mine")
    child.expect(PROMPT)
    child.sendline("Say hello.")
    child.expect("mine")
    child.expect(PROMPT)
    leave(child)
    child = spawn("--session", "mine")
    child.expect(PROMPT)
    child.sendline("/ctx.show mine | !grep -c role")
    child.expect(r"[2-9]\r\n")
    child.expect(PROMPT)
    leave(child)


def test_long_output_and_wide_characters(spawn: Spawn, tmp_path: Path) -> None:
    """Ten thousand lines come through a pipe whole; Chinese text is typed, shown and kept."""
    child = spawn(rows=24, columns=80)
    child.expect(PROMPT)
    child.sendline("n = !seq 10000")
    child.expect(PROMPT)
    child.sendline("$n | !tail -n 1")
    child.expect("10000")
    child.expect(PROMPT)
    child.sendline("$n")
    child.expect("\r\n9999\r\n10000\r\n")
    child.expect(PROMPT)
    child.sendline("/print 你好，世界 | > 文件.txt")
    child.expect("wrote")
    child.expect(PROMPT)
    assert (tmp_path / "文件.txt").read_text(encoding="utf-8") == "你好，世界\n"
    leave(child)


def test_no_color(spawn: Spawn) -> None:
    """With NO_COLOR an answer has no colours."""
    child = spawn(NO_COLOR="1")
    child.expect(PROMPT)
    child.sendline("/help")
    child.expect("In the shell")
    child.expect("Syscalls")
    assert not re.search(r"\x1b\[[0-9;]*3[0-7][0-9;]*m", child.before)
    child.expect(PROMPT)
    leave(child)


def test_a_dumb_terminal(spawn: Spawn) -> None:
    """Lines in, lines out, no escape sequences."""
    child = spawn(TERM="dumb")
    child.expect("> ")
    child.sendline("/print plain")
    child.expect("plain\r\nplain\r\n> ")
    assert "\x1b" not in child.before
    leave(child, prompt="> ")


def test_a_pipe(environ: dict[str, str], tmp_path: Path) -> None:
    """Each line is a message; data goes to stdout, narration to stderr."""
    done = subprocess.run(
        [*LINGOS, "sh"],
        env=environ,
        cwd=tmp_path,
        input='What is the capital of France?\n/print """a\nb"""\n/nothing\n/print last\n',
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0
    assert "Paris" in done.stdout
    assert done.stdout.endswith("a\nb\nlast\n")
    assert "there is no /nothing" in done.stderr
