"""`lingos run FILE.los`, and scripts on stdin."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from lingos_kernel.syscalls.events import Result


def test_a_script_is_run_line_by_line(lingos: Any, kernel: Any) -> None:
    """Messages share a conversation, arguments are variables, results are data on stdout."""
    Path("a.los").write_text(
        "#!/usr/bin/env -S lingos run\n# nothing\nWhat is $args.0?\n/print $args.1\n$_ | why?\n"
    )
    outcome = lingos("run", "a.los", "this", "that")
    assert (outcome.exit_code, outcome.stdout) == (0, "Paris.\nthat\nParis.\n")
    last = [m["content"] for m in kernel.calls[-1][1]["messages"]]
    assert last == ["What is this?", "Paris.", "that\n\nwhy?"]


def test_the_first_error_ends_it(lingos: Any) -> None:
    """With the exit code of the error; later lines are not run."""
    Path("a.los").write_text("/print one\n/print $two\n/print three\n")
    outcome = lingos("run", "a.los")
    assert (outcome.exit_code, outcome.stdout) == (2, "one\n")
    assert "there is no variable $two" in outcome.stderr


def test_mistakes_are_found_before_anything_runs(lingos: Any, kernel: Any) -> None:
    """The error points at the line and the column."""
    outcome = lingos("run", "-", stdin="Hello\n/print >\n")
    assert (outcome.exit_code, outcome.stdout, kernel.calls) == (2, "", [])
    assert "line 2, column 9" in outcome.stderr


def test_json_is_one_result_per_line(lingos: Any) -> None:
    """Errors too, on stderr."""
    outcome = lingos("run", "--json", "-", stdin="Hello\n/print a b\n/nothing\n")
    first, second = map(json.loads, outcome.stdout.splitlines())
    assert (first["text"], second) == ("Paris.", "a b")
    assert json.loads(outcome.stderr)["error"]["code"] == "unknown_syscall"


def test_questions_want_yes(lingos: Any, kernel: Any, syscall_info: Any) -> None:
    """Nobody is there to ask; --yes has said it beforehand."""
    kernel.infos = [syscall_info("x.remove", confirm=True)]
    kernel.answers["x.remove"] = lambda: [Result("gone")]
    refused = lingos("run", "-", stdin="/x.remove\n")
    assert refused.exit_code == 1
    assert "wants a person's yes" in refused.stderr
    assert lingos("run", "--yes", "-", stdin="/x.remove\n").stdout == "gone\n"


def test_a_prompt_that_names_no_script_is_a_prompt(lingos: Any, kernel: Any) -> None:
    """Also when it ends like one."""
    lingos("run", "what is a.los")
    assert kernel.calls[0][1]["messages"][-1]["content"] == "what is a.los"


def test_a_script_that_is_not_there_is_told(lingos: Any, kernel: Any) -> None:
    """Its name is not sent to a model."""
    outcome = lingos("run", "nope.los")
    assert (outcome.exit_code, kernel.calls) == (2, [])
    assert "cannot read nope.los" in outcome.stderr
