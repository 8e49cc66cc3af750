"""How soon `lingos` shows something: `python tests/benchmarks/tui_first_frame.py`.

Starts it in a pseudo-terminal (with a home of its own, no kernel running) and takes the time until
the prompt is painted, and until a typed word is echoed; beyond a bare interpreter, whose runs
are interleaved so that a busy machine slows both alike. A round before the first one lets Python
keep compiled files, as it does for whoever starts it a second time. Beside it, what Textual itself
takes for a single text area. Also names the dearest imports.
"""

from __future__ import annotations

import argparse
import fcntl
import os
import pty
import select
import statistics
import struct
import subprocess
import sys
import tempfile
import termios
import time
from pathlib import Path

BUDGET_S = 0.400
PAINTED = b"sk something"
"""Of the prompt's hint; the first letter lies below the cursor."""
TYPED, QUIT = b"zqx", b"\x11"
ROWS, COLUMNS = 40, 140
COMMAND = "from lingos_shell.main import main; main([])"
TOP = "from lingos_shell.main import main; main(['top'])"
TEXTUAL = """
from textual.app import App
from textual.widgets import TextArea

class Hello(App):
    BINDINGS = [("ctrl+q", "quit")]
    def compose(self):
        yield TextArea(placeholder="Ask something")

Hello().run()
"""


class Terminal:
    """A program in a pseudo-terminal whose answers to the terminal's questions never come."""

    def __init__(self, code: str, home: Path) -> None:
        environ = os.environ | {
            "LINGOS_HOME": str(home), "TERM": "xterm-256color", "COLORTERM": "truecolor",
        }  # fmt: skip
        environ.pop("PYTHONDONTWRITEBYTECODE", None)
        self.begun_s = time.perf_counter()
        self.pid, self.descriptor = pty.fork()
        if self.pid == 0:
            size = struct.pack("HHHH", ROWS, COLUMNS, 0, 0)
            fcntl.ioctl(0, termios.TIOCSWINSZ, size)
            os.execve(sys.executable, [sys.executable, "-c", code], environ)
        self.seen = b""

    def until_s(self, wanted: bytes, limit_s: float = 30.0) -> float:
        """Seconds since the start (or the last wait's end) until the bytes have been written."""
        begun_s = time.perf_counter()
        while wanted not in self.seen:
            left_s = limit_s - (time.perf_counter() - begun_s)
            if left_s <= 0 or not select.select([self.descriptor], [], [], left_s)[0]:
                raise TimeoutError(f"{wanted!r} was not painted within {limit_s} s")
            self.seen += os.read(self.descriptor, 65536)
        return time.perf_counter() - self.begun_s

    def echo_s(self) -> float:
        """Seconds from a typed word to its echo."""
        self.seen = b""
        self.begun_s = time.perf_counter()
        os.write(self.descriptor, TYPED)
        return self.until_s(TYPED)

    def close(self) -> None:
        """Leave the program, and wait until it is gone."""
        os.write(self.descriptor, QUIT)
        while _read(self.descriptor):
            continue
        os.waitpid(self.pid, 0)
        os.close(self.descriptor)


def _read(descriptor: int) -> bytes:
    """What the program has written; nothing at its end."""
    try:
        return os.read(descriptor, 65536)
    except OSError:  # how Linux tells of the end of a pseudo-terminal
        return b""


def bare_s() -> float:
    """Seconds that a bare interpreter takes."""
    begun_s = time.perf_counter()
    subprocess.run([sys.executable, "-c", "pass"], check=True)
    return time.perf_counter() - begun_s


def stop_kernel(home: Path) -> None:
    """Stop the kernel that `lingos` has started behind its first frame."""
    subprocess.run(
        [sys.executable, "-m", "lingos_shell", "kernel", "stop"],
        env=os.environ | {"LINGOS_HOME": str(home)}, check=False, capture_output=True,
    )  # fmt: skip


def measure(rounds: int) -> dict[str, float]:
    """Median seconds: to the first frame of `lingos` and of `lingos top`, and to the first echo."""
    found: dict[str, list[float]] = {
        "lingos": [], "lingos top": [], "textual alone": [], "first echo": [],
    }  # fmt: skip
    for number in range(rounds + 1):
        interpreter_s = bare_s()
        with tempfile.TemporaryDirectory(prefix="lingos-frame-") as home:
            for name, code, wanted in (
                ("lingos top", TOP, b"Processes"),
                ("textual alone", TEXTUAL, PAINTED),
                ("lingos", COMMAND, PAINTED),
            ):
                terminal = Terminal(code, Path(home))
                try:
                    found[name].append(terminal.until_s(wanted) - interpreter_s)
                    if name == "lingos":
                        found["first echo"].append(terminal.echo_s())
                finally:
                    terminal.close()
            stop_kernel(Path(home))
        if number == 0:
            found = {name: [] for name in found}
    return {name: statistics.median(values) for name, values in found.items()}


def dearest_imports(count: int) -> list[tuple[float, str]]:
    """The modules whose own import takes longest, in milliseconds."""
    code = (
        "import lingos_shell.main, lingos_shell.tui.start, lingos_shell.tui.app,"
        " lingos_shell.tui.main_screen"
    )
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-c", code], check=True, capture_output=True, text=True
    )
    rows = [line.removeprefix("import time:").split("|") for line in done.stderr.splitlines()]
    timed = [(int(own) / 1000, name.strip()) for own, _, name in rows if own.strip().isdigit()]
    return sorted(timed, reverse=True)[:count]


def main() -> int:
    """Print the measurement; returns 1 when the first frame is over its budget."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=11)
    found = measure(parser.parse_args().rounds)
    load = os.getloadavg()[0]
    print(f"load {load:.1f}, {os.cpu_count()} cores; frames are beyond the bare interpreter")
    for name, seconds in found.items():
        print(f"{name:<14} {seconds * 1000:6.0f} ms")
    for milliseconds, name in dearest_imports(12):
        print(f"  {milliseconds:6.1f} ms  {name}")
    return 1 if max(found["lingos"], found["lingos top"]) > BUDGET_S else 0


if __name__ == "__main__":
    sys.exit(main())
