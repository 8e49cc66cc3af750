"""Settings: order of the sources, checks, and errors that name what is wrong and where."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lingos_kernel.config import SECTIONS, Config, load_config
from lingos_kernel.errors import ConfigError


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A LINGOS_HOME with an empty config folder."""
    (tmp_path / "home/config").mkdir(parents=True)
    return tmp_path / "home"


def load(home: Path, environ: dict[str, str] | None = None, **kwargs: Any) -> Config:
    """The settings of a home folder."""
    return load_config(environ={"LINGOS_HOME": str(home), **(environ or {})}, **kwargs)


def write_user(home: Path, text: str) -> Path:
    """The user's file with this text."""
    path = home / "config/config.toml"
    path.write_text(text)
    return path


def source(config: Config, key: str) -> str:
    """Where a setting came from."""
    return next(value.source for value in config.explain() if value.key == key)


def test_defaults(home: Path) -> None:
    """Without files and variables the defaults of the design hold."""
    config = load(home)
    assert config.kernel.call_timeout_s == 600
    assert config.models.default == "smollm2-135m-instruct"
    assert config.plugins.load is None
    assert config.kernel.socket == home / "runtime/kernel.sock"
    assert config.models.store == home / "data/models"
    assert source(config, "engine.device") == "default"


def test_order_of_sources(home: Path, tmp_path: Path) -> None:
    """Command line beats environment beats project beats user beats default."""
    user = write_user(
        home, '[engine]\ndevice = "user"\npolicy = "user"\ndtype = "float16"\nmax_running = 1\n'
    )
    project = tmp_path / "work/.lingos.toml"
    (tmp_path / "work/deep").mkdir(parents=True)
    project.write_text('[engine]\ndevice = "project"\npolicy = "project"\nmax_running = 2\n')
    config = load(
        home,
        {"LINGOS_ENGINE_DEVICE": "env", "LINGOS_ENGINE_MAX_RUNNING": "3"},
        project_dir=tmp_path / "work/deep",
        overrides={"engine.device": "cli", "engine.threads": None},
    )
    got = {v.key: (v.value, v.source) for v in config.explain()}
    assert got["engine.device"] == ("cli", "command line")
    assert got["engine.max_running"] == (3, "environment LINGOS_ENGINE_MAX_RUNNING")
    assert got["engine.policy"] == ("project", f"project {project}")
    assert got["engine.dtype"] == ("float16", f"user {user}")
    assert got["engine.threads"] == (0, "default")


def test_xdg_folders_are_honoured(tmp_path: Path) -> None:
    """The XDG variables move the folders; a relative one is ignored, as XDG says."""
    config = load_config(
        environ={
            "HOME": str(tmp_path),
            "XDG_CONFIG_HOME": str(tmp_path / "c"),
            "XDG_DATA_HOME": "relative",
        }
    )
    assert config.paths.config_dir == tmp_path / "c/lingos"
    assert config.paths.data_dir == tmp_path / ".local/share/lingos"
    assert config.paths.runtime_dir == tmp_path / ".local/state/lingos/run"
    assert source(config, "paths.config_dir") == "environment XDG_CONFIG_HOME"


def test_long_home_gets_a_short_socket(tmp_path: Path) -> None:
    """A folder too deep for a Unix socket moves the default socket to a short path."""
    config = load(tmp_path / ("x" * 150))
    assert len(str(config.kernel.socket)) < 104
    assert config.kernel.socket.suffix == ".sock"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[engine]\ndevise = 'cpu'", "unknown setting engine.devise (did you mean engine.device"),
        ("[engin]\ndevice = 'cpu'", "unknown section [engin] (did you mean engine"),
        ("[engine]\nmax_running = 'many'", "engine.max_running = 'many' is not allowed"),
        ("[engine]\nmax_running = 0", "a whole number, at least 1"),
        ("[engine]\nmax_running = true", "engine.max_running = True is not allowed"),
        ("[engine]\ndtype = 'int8'", "one of auto, float32, bfloat16, float16"),
        ("[kernel]\ncall_timeout_s = nan", "a number above 0"),
        ("[plugins]\nload = [1]", "a list of names"),
        ("[engine.tenant_weights]\nann = 'much'", "a table of numbers by name, each above 0"),
        ("[engine.tenant_weights]\nann = 0", "engine.tenant_weights = {'ann': 0} is not allowed"),
        ("[engine.tenant_weights]\nann = inf", "each above 0"),
        ("[engine]\ntenant_weights = 3", "a table of numbers by name"),
        ("[engine]\npace = 0.5", "a number, at least 1"),
        ("engine = 3", "engine is a section"),
        ("[engine\n", "is not TOML"),
    ],
)
def test_wrong_file(home: Path, text: str, said: str) -> None:
    """A wrong file is one line that names file, key, value and what is allowed."""
    path = write_user(home, text)
    with pytest.raises(ConfigError) as caught:
        load(home)
    assert str(path) in str(caught.value)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_wrong_environment_and_override_are_named(home: Path) -> None:
    """The variable or the command line is named as the place of a wrong value."""
    with pytest.raises(ConfigError, match=r"environment LINGOS_THREADS_MAXIMUM.*'x'"):
        load(home, {"LINGOS_THREADS_MAXIMUM": "x"})
    with pytest.raises(ConfigError, match=r"command line: unknown setting engine\.foo"):
        load(home, overrides={"engine.foo": 1})
    with pytest.raises(ConfigError, match=r"command line: engine\.threads"):
        load(home, overrides={"engine.threads": "-1"})


def test_unreadable_file(home: Path) -> None:
    """A file that is a folder is told as such, not raised as OSError."""
    (home / "config/config.toml").mkdir()
    with pytest.raises(ConfigError, match="cannot read"):
        load(home)


def test_bounds_that_contradict(home: Path) -> None:
    """A minimum above the maximum names both and their sources."""
    with pytest.raises(ConfigError, match=r"threads\.minimum is 9 \(command line\)"):
        load(home, overrides={"threads.minimum": 9, "threads.maximum": 3})


def test_projects_cannot_redirect(home: Path, tmp_path: Path) -> None:
    """A project's file may not choose the socket that prompts go to, nor the model store."""
    (tmp_path / ".lingos.toml").write_text("[kernel]\nsocket = 'evil.sock'")
    with pytest.raises(ConfigError, match="which a project may not"):
        load(home, project_dir=tmp_path)


def test_tenant_weights_from_file_and_environment(home: Path) -> None:
    """A table in the file; names and numbers with commas in a variable, which replaces it."""
    write_user(home, "[engine.tenant_weights]\nann = 3\n'b c' = 0.5\n")
    assert load(home).engine.tenant_weights == {"ann": 3.0, "b c": 0.5}
    variable = "LINGOS_ENGINE_TENANT_WEIGHTS"
    assert load(home, {variable: "ann=2, bob=0.25"}).engine.tenant_weights == {
        "ann": 2.0,
        "bob": 0.25,
    }
    assert load(home, {variable: ""}).engine.tenant_weights == {}
    for wrong in ("ann", "ann=", "ann=-1", "=3=", "ann=nan"):
        with pytest.raises(ConfigError, match=r"TENANT_WEIGHTS: .*is not allowed"):
            load(home, {variable: wrong})


def test_load_plugins_variable(home: Path) -> None:
    """LINGOS_LOAD_PLUGINS is a comma list; empty means none, absent means all."""
    assert load(home, {"LINGOS_LOAD_PLUGINS": ""}).plugins.load == ()
    assert load(home, {"LINGOS_LOAD_PLUGINS": "a, b"}).plugins.load == ("a", "b")
    assert load(home).plugins.load is None


def test_paths_in_files_are_relative_to_the_file(home: Path) -> None:
    """A relative path in a file starts at the file's folder."""
    write_user(home, "[models]\nstore = 'm'")
    assert load(home).models.store == home / "config/m"


def test_unknown_variable_is_a_warning(home: Path) -> None:
    """A mistyped LINGOS_ variable stops nothing but is told with the near name."""
    config = load(home, {"LINGOS_ENGINE_DEVISE": "cpu", "LINGOS_HOME_X": ""})
    assert any("LINGOS_ENGINE_DEVICE" in warning for warning in config.warnings)


@settings(deadline=None)
@given(st.dictionaries(st.sampled_from(["device", "policy"]), st.text(max_size=20)))
def test_any_text_survives_the_environment(values: dict[str, str]) -> None:
    """Text settings take any text, unchanged."""
    environ = {f"LINGOS_ENGINE_{name.upper()}": text for name, text in values.items()}
    config = load_config(environ={"LINGOS_HOME": "/h", **environ})
    assert {name: getattr(config.engine, name) for name in values} == values


def test_every_setting_is_explained(home: Path) -> None:
    """`explain` has each setting of each section once."""
    keys = [value.key for value in load(home).explain()]
    wanted = [
        f"{name}.{f.name}" for name, kind in SECTIONS.items() for f in dataclasses.fields(kind)
    ]
    assert [key for key in keys if not key.startswith("paths.")] == wanted
    assert len(keys) == len(set(keys)) == len(wanted) + 5
