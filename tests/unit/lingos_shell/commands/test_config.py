"""`lingos config`."""

from __future__ import annotations

import json
from typing import Any

import pytest


def test_each_setting_has_value_and_source(lingos: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Command line, environment and default are told apart."""
    monkeypatch.setenv("LINGOS_ENGINE_DEVICE", "cpu")
    outcome = lingos("--set", "engine.max_running=3", "config", "show", "--json")
    values = {row["key"]: row for row in json.loads(outcome.stdout)}
    assert values["engine.device"]["source"] == "environment LINGOS_ENGINE_DEVICE"
    assert values["engine.max_running"]["value"] == 3
    assert values["engine.max_running"]["source"] == "command line"
    assert values["engine.policy"]["source"] == "default"


def test_one_setting_is_its_value_alone(lingos: Any) -> None:
    """Scripts read one without parsing a table."""
    assert lingos("config", "show", "engine.policy").stdout == "priority\n"
    outcome = lingos("config", "show", "engine.polcy")
    assert outcome.exit_code == 2
    assert "did you mean engine.policy" in outcome.stderr


def test_a_wrong_setting_is_named(lingos: Any, tmp_path: Any) -> None:
    """`validate` says which file or variable, and what is allowed."""
    assert lingos("config", "validate").stdout == "the settings are valid\n"
    (tmp_path / ".lingos.toml").write_text('[engine]\ndtype = "sideways"\n')
    outcome = lingos("config", "validate")
    assert outcome.exit_code == 2
    assert ".lingos.toml" in outcome.stderr
    assert "float32, bfloat16" in outcome.stderr


@pytest.mark.parametrize("setting", ["engine.device", "device=cpu", "engine.nonsense=1"])
def test_wrong_overrides_are_usage_errors(lingos: Any, setting: str) -> None:
    """`--set` wants SECTION.KEY=VALUE of a known setting."""
    assert lingos("--set", setting, "config", "show").exit_code == 2
