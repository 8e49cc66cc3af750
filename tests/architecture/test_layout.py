"""How the repository is laid out, and what may be imported where."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
KERNEL = ROOT / "kernel" / "lingos_kernel"
ROLE_FOLDERS = ("kernel", "shell", "plugins")
MAX_LINES = 400
LONGER_FILES: dict[str, str] = {}
"""Files that may be longer than MAX_LINES, each with its reason."""
TORCH_ROOMS = ("engine", "models")
TORCH_NAMES = frozenset({"torch", "transformers", "accelerate", "peft", "torchao"})


def packages() -> list[Path]:
    """The packages that are shipped."""
    return sorted(path for role in ROLE_FOLDERS for path in (ROOT / role).glob("lingos_*"))


def sources() -> list[Path]:
    """Every source file of them."""
    return sorted(path for package in packages() for path in package.rglob("*.py"))


def imported_names(path: Path) -> Iterator[tuple[str, int]]:
    """Every module that a file imports, at its top or inside functions, with its line."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module or "", node.lineno


def test_role_folders_are_no_packages() -> None:
    """They hold nothing importable beside `lingos_*`, so that no other name gets onto the path."""
    for role in ROLE_FOLDERS:
        names = {path.name for path in (ROOT / role).iterdir() if path.name != "__pycache__"}
        assert all(name.startswith("lingos_") for name in names), (role, names)


def test_each_package_is_typed() -> None:
    """Type checkers of others read our annotations."""
    assert [p.name for p in packages() if not (p / "py.typed").is_file()] == []


def test_files_are_short() -> None:
    """A file that fits few screens has one subject."""
    lengths = {str(p.relative_to(ROOT)): len(p.read_text().splitlines()) for p in sources()}
    too_long = {name for name, lines in lengths.items() if lines > MAX_LINES}
    assert too_long == set(LONGER_FILES)


def test_torch_stays_in_its_rooms() -> None:
    """Only `engine/` and `models/` import torch, at their top or inside functions."""
    allowed = tuple(KERNEL / room for room in TORCH_ROOMS)
    found = [
        f"{path.relative_to(ROOT)}:{line} imports {name}"
        for path in sources()
        if not any(path.is_relative_to(room) for room in allowed)
        for name, line in imported_names(path)
        if name.split(".")[0] in TORCH_NAMES
    ]
    assert found == []


def test_imports_are_absolute_and_annotations_lazy() -> None:
    """Every file with code begins alike."""
    for path in sources():
        tree = ast.parse(path.read_text(encoding="utf-8"))
        relative = [n for n in ast.walk(tree) if isinstance(n, ast.ImportFrom) and n.level]
        assert relative == [], path
        code = [n for n in tree.body if not isinstance(n, ast.Expr)]
        if code:
            first = code[0]
            assert isinstance(first, ast.ImportFrom), path
            assert first.module == "__future__", path


@pytest.mark.parametrize("name", ["lingos_kernel", "lingos_kernel.testing", "lingos_text"])
def test_public_names_exist(name: str) -> None:
    """What `__all__` promises can be had."""
    module = import_module(name)
    missing = [public for public in getattr(module, "__all__", ()) if not hasattr(module, public)]
    assert missing == []


def test_each_test_says_what_it_shows() -> None:
    """A test's docstring is one sentence."""
    untold = []
    for path in sorted((ROOT / "tests").rglob("test_*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            is_test = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
            if is_test and node.name.startswith("test_") and not ast.get_docstring(node):
                untold.append(f"{path.relative_to(ROOT)}: {node.name}")
    assert untold == []
