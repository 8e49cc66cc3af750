"""The `[shell]` section: a theme, and other keys."""

from __future__ import annotations

from pathlib import Path

import pytest

from lingos_kernel.config import load_config
from lingos_kernel.errors import ConfigError


def test_keys_come_from_the_users_file(tmp_path: Path) -> None:
    """A table of its own below [shell]."""
    folder = tmp_path / "config"
    folder.mkdir()
    text = '[shell]\ntheme = "nord"\n[shell.keys]\n"app.quit" = "ctrl+x"\n'
    (folder / "config.toml").write_text(text, encoding="utf-8")
    config = load_config(environ={"LINGOS_HOME": str(tmp_path)})
    assert config.shell.theme == "nord"
    assert config.shell.keys == {"app.quit": "ctrl+x"}


def test_keys_come_from_the_environment(tmp_path: Path) -> None:
    """Pairs with semicolons between them, for a key may hold a comma."""
    environ = {
        "LINGOS_HOME": str(tmp_path),
        "LINGOS_SHELL_KEYS": "app.quit=ctrl+x; scheduler.kill=f9,x",
    }
    config = load_config(environ=environ)
    assert config.shell.keys == {"app.quit": "ctrl+x", "scheduler.kill": "f9,x"}


def test_wrong_keys_are_refused(tmp_path: Path) -> None:
    """Only texts by name; and none from a project's folder."""
    folder = tmp_path / "config"
    folder.mkdir()
    (folder / "config.toml").write_text("[shell]\nkeys = 3\n", encoding="utf-8")
    with pytest.raises(ConfigError, match=r"shell\.keys"):
        load_config(environ={"LINGOS_HOME": str(tmp_path)})
    project = tmp_path / "project"
    project.mkdir()
    text = '[shell.keys]\n"dialog.yes" = "n"\n'
    (project / ".lingos.toml").write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError, match="a project may not"):
        load_config(environ={"LINGOS_HOME": str(tmp_path / "other")}, project_dir=project)
