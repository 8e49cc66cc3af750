"""What a person turned on or off outlives the program."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lingos_kernel.errors import ConfigError
from lingos_kernel.plugin_switches import PluginSwitches

NAMES = st.sampled_from(["a", "b", "c"])


@given(st.lists(st.tuples(NAMES, st.booleans()), max_size=8))
def test_the_last_word_holds(tmp_path_factory, turns: list[tuple[str, bool]]) -> None:
    """Each plugin is as it was turned last, in another program too."""
    path = tmp_path_factory.mktemp("switches") / "plugins.json"
    for name, on in turns:
        PluginSwitches(path).turn(name, on=on)
    last = dict(turns)
    installed = ("a", "b", "c")
    wanted = PluginSwitches(path).wanted(("a",), installed)
    assert wanted is not None
    assert set(wanted) == {n for n in installed if last.get(n, n == "a")}
    everything = PluginSwitches(path).wanted(None, installed)
    if last:
        assert everything is not None
        assert set(everything) == {n for n in installed if last.get(n, True)}
    assert PluginSwitches(path).wanted((), installed) == ()


def test_a_broken_file_is_told(tmp_path: Path) -> None:
    """It is neither ignored nor written over."""
    path = tmp_path / "plugins.json"
    path.write_text("{", encoding="utf-8")
    with pytest.raises(ConfigError, match="cannot be read"):
        PluginSwitches(path).turn("a", on=True)
    assert path.read_text(encoding="utf-8") == "{"


def test_without_a_file() -> None:
    """Nothing is switched, and trying to says so."""
    assert PluginSwitches().wanted(None, ("a",)) is None
    with pytest.raises(ConfigError, match="no file"):
        PluginSwitches().turn("a", on=False)
