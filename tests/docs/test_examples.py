"""The console examples of the documents do what they show.

A block of ```console below a line `<!-- run -->` is run by bash, command by command (`$ `), in a
folder with the README; output is compared as doctest compares it: `...` stands for anything.
"""

from __future__ import annotations

import doctest
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
BLOCK = re.compile(r"^<!-- run -->\n```console\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Example:
    """One command and the output that the document shows."""

    command: str
    expected: str


def examples(path: Path) -> list[Example]:
    """The runnable examples of a document, in order."""
    found = []
    for block in BLOCK.findall(path.read_text(encoding="utf-8")):
        for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            command, _, expected = part.partition("\n")
            found.append(Example(command, expected))
    return found


@pytest.mark.model
@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    "path",
    [path for path in DOCUMENTS if examples(path)],
    ids=lambda path: str(path.relative_to(ROOT)),
)
def test_examples_do_what_they_show(
    path: Path, environment: dict[str, str], tmp_path: Path
) -> None:
    """Each command of the document, in order, as a reader types them."""
    shutil.copy(ROOT / "README.md", tmp_path)
    checker = doctest.OutputChecker()
    for example in examples(path):
        done = subprocess.run(
            ["bash", "-o", "pipefail", "-c", example.command],
            cwd=tmp_path,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        assert checker.check_output(example.expected, done.stdout, doctest.ELLIPSIS), (
            f"$ {example.command}\nshown:\n{example.expected}\ngot:\n{done.stdout}\n{done.stderr}"
        )


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere(path: Path) -> None:
    """Links within the repository point at files that exist."""
    text = re.sub(r"```.*?```", "", path.read_text(encoding="utf-8"), flags=re.DOTALL)
    targets = re.findall(r"\]\((?!https?:|#)([^)#]+)", text)
    assert [target for target in targets if not (path.parent / target).exists()] == []
