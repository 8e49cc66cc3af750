"""What a process loads: the light things must stay light."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

HEAVY = ("torch", "transformers", "textual", "numpy", "prompt_toolkit")
NOT_FOR_HELP = (
    *HEAVY,
    "rich",
    "httpx",
    "h11",
    "asyncio",
    "msgspec",
    "pydantic",
    "pluggy",
    "psutil",
)

REPORT = "import sys, json; print('MODULES ' + json.dumps(sorted(sys.modules)))"


def loaded_by(code: str) -> set[str]:
    """Top-level modules that a fresh interpreter holds after running the code."""
    done = subprocess.run(
        [sys.executable, "-c", f"{code}\n{REPORT}"],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    (line,) = [line for line in done.stdout.splitlines() if line.startswith("MODULES ")]
    return {name.split(".")[0] for name in json.loads(line.removeprefix("MODULES "))}


@pytest.mark.parametrize("words", [["--version"], ["--help"], ["-h"], ["--json", "--version"]])
def test_version_and_help_load_next_to_nothing(words: list[str]) -> None:
    """They answer at once: no torch, no screen, no network, no plugin."""
    forbidden = set(NOT_FOR_HELP)
    if "--json" in words:
        forbidden.remove("msgspec")
    loaded = loaded_by(f"from lingos_shell.main import main; main({words!r})")
    assert loaded & forbidden == set()
    assert "lingos_text" not in loaded


@pytest.mark.parametrize("name", ["run", "call", "kernel", "ps", "doctor", "chat", "top"])
def test_help_of_a_command_loads_nothing_heavy(name: str) -> None:
    """A command imports what it draws or asks with only when it does."""
    loaded = loaded_by(f"from lingos_shell.main import main; main([{name!r}, '--help'])")
    assert loaded & {*HEAVY, "rich", "httpx", "lingos_text"} == set()


def test_the_kernels_face_is_light() -> None:
    """Programs may import the kernel's public names without paying for the engine."""
    loaded = loaded_by("import lingos_kernel, lingos_shell.main; lingos_kernel.syscall")
    assert loaded & set(HEAVY) == set()


def test_the_first_frame_loads_only_what_it_draws_with() -> None:
    """Before something is on the screen: no command line, no Markdown, no client, no engine."""
    loaded = loaded_by(
        "import lingos_shell.main, lingos_shell.tui.start, lingos_shell.tui.app,"
        " lingos_shell.tui.main_screen"
    )
    assert "textual" in loaded
    forbidden = {*HEAVY, "click", "markdown_it", "pygments", "pydantic", "httpx"} - {"textual"}
    assert loaded & forbidden == set()
