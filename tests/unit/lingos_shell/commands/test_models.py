"""`lingos pull`, `models`, `show` and `rm`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from lingos_kernel.errors import UnknownModel
from lingos_shell.commands.models import absolute_source, residence_text

MODEL = {
    "name": "tiny",
    "id": "0123456789abcdef",
    "kind": "causal",
    "architecture": "LlamaForCausalLM",
    "parameters": 134_515_008,
    "bytes_on_disk": 269_000_000,
    "context_tokens": 8192,
    "source": "wheel:tiny==1",
    "aliases": ["t"],
    "licence": "",
    "pulled_at": 1_800_000_000.0,
    "files": [{"path": "config.json", "bytes": 2048, "sha256": "ab"}],
}


@pytest.fixture
def kernel(kernel: Any) -> Any:
    """The stand-in with one stored model."""
    kernel.answers |= {
        "model.list": lambda: [MODEL],
        "model.show": lambda **_: MODEL,
        "model.pull": lambda **_: MODEL,
        "model.remove": lambda **_: {"removed": "tiny"},
    }
    return kernel


def test_models_are_a_table_or_json(lingos: Any) -> None:
    """Sizes as people read them, exact for programs."""
    header, row = lingos("models").stdout.splitlines()
    assert header.split() == [
        "NAME", "KIND", "ARCHITECTURE", "PARAMETERS", "SIZE", "CONTEXT", "MEMORY", "ID",
    ]  # fmt: skip
    assert row.split()[0] == "tiny"
    assert "134.5 M" in row
    assert "256.5 MiB" in row
    assert json.loads(lingos("models", "--json").stdout) == [MODEL]


@pytest.mark.parametrize(
    ("facts", "text"),
    [
        ({}, "-"),
        ({"state": "busy"}, "busy"),
        ({"state": "ready", "pinned": True}, "ready, pinned"),
        ({"state": "stored", "reserved": "ann"}, "-, reserved for ann"),
    ],
)
def test_a_model_in_memory_says_why_it_stays(facts: dict[str, Any], text: str) -> None:
    """One cell of the table."""
    assert residence_text(facts) == text


def test_show_tells_every_fact(lingos: Any) -> None:
    """Sizes also in bytes, lists as words, nothing as a dash."""
    text = lingos("show", "tiny").stdout
    assert "256.5 MiB (269000000 bytes)" in text
    assert "licence         -" in text
    assert "2027-01-15 08:00:00+00:00" in text
    assert "config.json  2.0 KiB" in text


def test_pull_says_what_was_stored(lingos: Any, kernel: Any) -> None:
    """One line of data; folders are named absolutely for the kernel."""
    assert lingos("pull", "tiny", "--alias", "x").stdout == "tiny  256.5 MiB  0123456789ab\n"
    assert kernel.calls[-1] == ("model.pull", {"source": "tiny", "alias": "x"})
    lingos("pull", "./folder")
    assert kernel.calls[-1][1]["source"].endswith("/folder")
    assert json.loads(lingos("pull", "tiny", "--json").stdout) == MODEL


def test_rm_is_a_persons_yes(lingos: Any, kernel: Any) -> None:
    """Typing `rm` confirms; each model is removed in turn."""
    outcome = lingos("rm", "a", "b")
    assert outcome.stdout == "removed a\nremoved b\n"
    assert [arguments for _, arguments in kernel.calls] == [{"name": "a"}, {"name": "b"}]
    assert {"confirmed": True} in kernel.options


def test_an_unknown_model_is_a_usage_error(lingos: Any, kernel: Any) -> None:
    """The kernel's hint names the near ones."""

    def unknown(**_: Any) -> None:
        raise UnknownModel("unknown model 'tinny'", hint="did you mean tiny?")

    kernel.answers["model.show"] = unknown
    outcome = lingos("show", "tinny")
    assert outcome.exit_code == 2
    assert outcome.stderr.endswith("hint: did you mean tiny?\n")


@pytest.mark.parametrize("source", ["tiny", "hf:org/name@main", "org/name", "wheel:x==1"])
def test_names_stay_names(source: str) -> None:
    """Only what looks like a path becomes one."""
    assert absolute_source(source) == source


def test_files_become_absolute() -> None:
    """The kernel works in another folder."""
    assert absolute_source("m.gguf") == str(Path.cwd() / "m.gguf")
    assert absolute_source("~/m.gguf") == str(Path.home() / "m.gguf")
