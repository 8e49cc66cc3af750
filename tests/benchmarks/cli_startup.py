"""What `lingos --help` costs beyond the bare interpreter: `python tests/benchmarks/cli_startup.py`.

Runs of the two are interleaved, so that a busy machine slows both alike. Also names the dearest
imports, from `python -X importtime`.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import time

BUDGET_S = 0.150
BARE = "pass"
COMMANDS = {
    "lingos --version": "from lingos_shell.main import main; main(['--version'])",
    "lingos --help": "from lingos_shell.main import main; main(['--help'])",
}


def run_s(code: str) -> float:
    """Seconds that a fresh interpreter takes for the code."""
    begun = time.perf_counter()
    subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - begun


def measure(rounds: int) -> dict[str, float]:
    """The median seconds of each command beyond the bare interpreter."""
    differences: dict[str, list[float]] = {name: [] for name in COMMANDS}
    for _ in range(rounds):
        bare_s = run_s(BARE)
        for name, code in COMMANDS.items():
            differences[name].append(run_s(code) - bare_s)
    return {name: statistics.median(values) for name, values in differences.items()}


def dearest_imports(code: str, count: int) -> list[tuple[float, str]]:
    """The modules whose own import takes longest, in milliseconds."""
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-c", code], check=True, capture_output=True, text=True
    )
    rows = [line.removeprefix("import time:").split("|") for line in done.stderr.splitlines()]
    timed = [(int(own) / 1000, name.strip()) for own, _, name in rows if own.strip().isdigit()]
    return sorted(timed, reverse=True)[:count]


def main() -> int:
    """Print the measurement; returns 1 when a command is over its budget."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=21)
    found = measure(parser.parse_args().rounds)
    for name, seconds in found.items():
        print(f"{name:<18} {seconds * 1000:6.1f} ms beyond the interpreter")
    for milliseconds, name in dearest_imports(COMMANDS["lingos --help"], 8):
        print(f"  {milliseconds:6.1f} ms  {name}")
    return 1 if max(found.values()) > BUDGET_S else 0


if __name__ == "__main__":
    sys.exit(main())
