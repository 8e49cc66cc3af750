"""The terminal interface in a real terminal (tmux), with a real kernel and the real model."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from lingos_kernel.models.store import ModelStore, StoredModel

pytestmark = [
    pytest.mark.model,
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("tmux") is None, reason="needs tmux"),
]
LIMIT_S = 120.0
LINGOS = f"{sys.executable} -m lingos_shell"


class Tmux:
    """Panes of a tmux server of this test's own."""

    def __init__(self, environ: dict[str, str]) -> None:
        self._socket = f"lingos-{uuid.uuid4().hex[:12]}"
        self._environ = environ

    def _run(self, *words: str) -> str:
        command = ["tmux", "-f", "/dev/null", "-L", self._socket, *words]
        done = subprocess.run(
            command, env=self._environ, capture_output=True, text=True, timeout=30, check=False
        )
        return done.stdout

    def open(self, name: str, command: str, size: tuple[int, int]) -> None:
        """Start a command in a window of its own."""
        width, height = map(str, size)
        self._run("new-session", "-d", "-s", name, "-x", width, "-y", height, command)

    def type(self, name: str, text: str) -> None:
        """Type text."""
        self._run("send-keys", "-t", name, "-l", text)

    def press(self, name: str, *keys: str) -> None:
        """Press keys by name."""
        self._run("send-keys", "-t", name, *keys)

    def screen(self, name: str) -> str:
        """What is to be seen; nothing when the program has ended."""
        return self._run("capture-pane", "-p", "-t", name)

    def until(self, name: str, is_there: Callable[[str], object]) -> str:
        """Wait until something is to be seen; returns the screen."""
        end_s = time.monotonic() + LIMIT_S
        while not is_there(seen := self.screen(name)):
            assert time.monotonic() < end_s, f"it did not come:\n{seen}"
            time.sleep(0.1)  # a terminal tells nobody that it has changed
        return seen

    def close(self) -> None:
        """End everything."""
        self._run("kill-server")


@pytest.fixture
def home(
    tmp_path_factory: pytest.TempPathFactory, model_store: ModelStore, default_model: StoredModel
) -> Iterator[dict[str, str]]:
    """Surroundings with a home of their own and the real model in the store."""
    folder = tmp_path_factory.mktemp("home")
    environ = os.environ | {
        "LINGOS_HOME": str(folder), "LINGOS_MODELS_STORE": str(model_store.root),
        "TERM": "xterm-256color", "LANG": "C.UTF-8", "LC_ALL": "C.UTF-8",
    }  # fmt: skip
    yield environ
    subprocess.run(
        [sys.executable, "-m", "lingos_shell", "kernel", "stop"],
        env=environ, check=False, capture_output=True, timeout=60,
    )  # fmt: skip


def test_a_prompt_typed_at_once_is_answered_and_top_sees_it(home: dict[str, str]) -> None:
    """The kernel starts behind the first frame; a second terminal watches and acts."""
    tmux = Tmux(home)
    try:
        tmux.open("main", LINGOS, (150, 45))
        tmux.until("main", lambda seen: "sk something" in seen)
        tmux.type("main", "只说城市 קצר")
        tmux.until("main", lambda seen: "只说城市 קצר" in seen)
        tmux.press("main", "C-u")
        tmux.type("main", "What is the capital of France?")
        tmux.until("main", lambda seen: "capital of France?" in seen)
        tmux.press("main", "Enter")
        tmux.open("top", f"{LINGOS} top", (120, 34))
        seen = tmux.until("main", lambda seen: "in all" in seen)
        assert "Paris" in seen
        assert "tok/s" in seen
        seen = tmux.until("top", lambda seen: " lingos top" in seen and "smollm2" in seen)
        assert "weights" in seen
        tmux.press("top", "5")
        tmux.until("top", lambda seen: "ready" in seen and "WEIGHT" in seen)
        tmux.press("top", "q")
        tmux.until("top", lambda seen: not seen.strip())
        tmux.press("main", "C-q")
        tmux.until("main", lambda seen: not seen.strip())
    finally:
        tmux.close()


def test_a_kernel_that_is_killed_comes_back(home: dict[str, str]) -> None:
    """kill -9: a banner, another kernel, and the conversation goes on where it was."""
    tmux = Tmux(home)
    try:
        tmux.open("main", LINGOS, (150, 45))
        tmux.until("main", lambda seen: "policy" in seen or "threads" in seen)
        tmux.type("main", "Say yes.")
        tmux.press("main", "Enter")
        tmux.until("main", lambda seen: "in all" in seen)
        state = subprocess.run(
            [sys.executable, "-m", "lingos_shell", "--json", "kernel", "status"],
            env=home, check=True, capture_output=True, text=True, timeout=60,
        )  # fmt: skip
        os.kill(json.loads(state.stdout)["os_pid"], 9)
        tmux.until("main", lambda seen: "went away" in seen)
        tmux.type("main", "Say no.")
        tmux.press("main", "Enter")
        seen = tmux.until("main", lambda seen: seen.count("in all") == 2)
        assert "Say yes." in seen
        assert "went away" not in seen.splitlines()[0]
        tmux.press("main", "C-q")
        tmux.until("main", lambda seen: not seen.strip())
    finally:
        tmux.close()


def test_without_a_terminal_nothing_is_drawn(home: dict[str, str], tmp_path: Path) -> None:
    """Pipes get what they got before: `top --once` text, and a conversation line by line."""
    done = subprocess.run(
        [sys.executable, "-m", "lingos_shell", "top", "--once"],
        env=home, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 3
    assert "\x1b" not in done.stdout + done.stderr
