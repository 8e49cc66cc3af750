"""Settings, read once: TOML files, environment and command line; each value knows its source.

Order, the last one wins: default, user file, project file, environment, command line. An
environment variable is named `LINGOS_<SECTION>_<KEY>`; a TOML file has one table per section.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

from lingos_kernel.errors import ConfigError
from lingos_kernel.names import did_you_mean

PROJECT_FILE = ".lingos.toml"
USER_FILE = "config.toml"
MAX_SOCKET_BYTES = 103
"""The longest path of a Unix socket that every system takes."""

LogLevel = Literal["debug", "info", "warning", "error"]


@dataclass(frozen=True, slots=True)
class Paths:
    """Where LingOS keeps what, as the XDG base directories say (on every system)."""

    config_dir: Path
    data_dir: Path
    state_dir: Path
    cache_dir: Path
    runtime_dir: Path


@dataclass(frozen=True, slots=True)
class KernelConfig:
    """The resident kernel."""

    socket: Path
    idle_exit_s: float = field(default=0.0, metadata={"minimum": 0})
    """Leave after this long without calls or clients; 0: never."""
    call_timeout_s: float = field(default=600.0, metadata={"above": 0})
    max_calls_in_flight: int = field(default=256, metadata={"minimum": 1})
    log_level: LogLevel = "info"


@dataclass(frozen=True, slots=True)
class ModelsConfig:
    """Default models and the store."""

    store: Path
    default: str = "smollm2-135m-instruct"
    embedder: str = "all-minilm-l6-v2"


@dataclass(frozen=True, slots=True)
class EngineConfig:
    """The engine and its scheduler."""

    mode: str = "process"
    """process, inprocess, or the name of a plugin's driver."""
    device: str = "auto"
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    kv_bytes: int = field(default=0, metadata={"minimum": 0})
    """Bytes for KV pages; 0: the planner decides."""
    max_running: int = field(default=64, metadata={"minimum": 1})
    max_batch_tokens: int = field(default=512, metadata={"minimum": 1})
    policy: str = "priority"
    threads: int = field(default=0, metadata={"minimum": 0})
    """Threads of torch; 0: as many as there are cores."""


@dataclass(frozen=True, slots=True)
class ThreadsConfig:
    """The pool that runs syscalls."""

    minimum: int = field(default=2, metadata={"minimum": 1})
    maximum: int = field(default=64, metadata={"minimum": 1})


@dataclass(frozen=True, slots=True)
class QueueConfig:
    """Queues of calls and messages."""

    bound: int = field(default=1024, metadata={"minimum": 1})


@dataclass(frozen=True, slots=True)
class PluginsConfig:
    """Which plugins are loaded, and how long one may take."""

    load: tuple[str, ...] | None = None
    """None: all that are installed; (): none."""
    slow_s: float = field(default=1.0, metadata={"above": 0})
    """An import that takes longer is flagged."""
    import_timeout_s: float = field(default=10.0, metadata={"above": 0})
    """An import that takes longer is given up."""


@dataclass(frozen=True, slots=True)
class ConfigValue:
    """One setting, and where its value came from."""

    key: str
    value: Any
    source: str


@dataclass(frozen=True, slots=True)
class Config:
    """All settings."""

    paths: Paths
    kernel: KernelConfig
    models: ModelsConfig
    engine: EngineConfig
    threads: ThreadsConfig
    queue: QueueConfig
    plugins: PluginsConfig
    sources: Mapping[str, str]
    """Where the value of each dotted key came from."""
    warnings: tuple[str, ...] = ()
    """What looks like a mistake but stops nothing: unknown LINGOS_ variables."""

    def explain(self) -> list[ConfigValue]:
        """Every setting with its value and source, in the order of the sections."""
        return [
            ConfigValue(key, getattr(getattr(self, section), name), source)
            for key, source in self.sources.items()
            for section, name in [key.split(".")]
        ]


SECTIONS: Mapping[str, type[Any]] = {
    "kernel": KernelConfig,
    "models": ModelsConfig,
    "engine": EngineConfig,
    "threads": ThreadsConfig,
    "queue": QueueConfig,
    "plugins": PluginsConfig,
}
NOT_IN_PROJECTS = frozenset({"kernel.socket", "models.store"})
"""A folder that somebody else wrote must not redirect the user's prompts or models."""

_ALIASES = {"LINGOS_LOAD_PLUGINS": "plugins.load"}
_OTHER_VARIABLES = frozenset({"LINGOS_HOME"})


@dataclass(frozen=True, slots=True)
class _Setting:
    """A setting's key, type and bounds."""

    key: str
    kind: Any
    bounds: Mapping[str, Any]

    @property
    def variable(self) -> str:
        return "LINGOS_" + self.key.replace(".", "_").upper()


def _settings() -> dict[str, _Setting]:
    found = {}
    for section, kind in SECTIONS.items():
        hints = get_type_hints(kind)
        for item in fields(kind):
            key = f"{section}.{item.name}"
            found[key] = _Setting(key, hints[item.name], item.metadata)
    return found


def load_config(
    *,
    environ: Mapping[str, str] = os.environ,
    project_dir: Path | None = None,
    overrides: Mapping[str, Any] | None = None,
) -> Config:
    """The settings in force.

    `project_dir`: the nearest `.lingos.toml` in it or above it is read. `overrides` maps dotted
    keys (`engine.device`) to values from the command line, typed or as text; None values are
    passed over. Raises `ConfigError` naming file, key, value and what is allowed.
    """
    paths, sources = _find_paths(environ)
    settings = _settings()
    values: dict[str, Any] = {
        "kernel.socket": _default_socket(paths),
        "models.store": paths.data_dir / "models",
    }
    sources |= dict.fromkeys(settings, "default")
    layers = [
        _read_toml(paths.config_dir / USER_FILE, "user", settings),
        _read_project(project_dir, settings),
        _read_environment(environ, settings),
        _read_overrides(overrides or {}, settings),
    ]
    for layer in layers:
        for setting, value, source in layer:
            values[setting.key] = value
            sources[setting.key] = source
    config = Config(
        paths=paths,
        sources=sources,
        warnings=tuple(_unknown_variables(environ, settings)),
        **{name: _build(name, kind, values) for name, kind in SECTIONS.items()},
    )
    _check_together(config)
    return config


def _build(section: str, kind: type[Any], values: Mapping[str, Any]) -> Any:
    prefix = section + "."
    own = {key.removeprefix(prefix): v for key, v in values.items() if key.startswith(prefix)}
    return kind(**own)


def _check_together(config: Config) -> None:
    if config.threads.minimum > config.threads.maximum:
        raise ConfigError(
            f"threads.minimum is {config.threads.minimum} ({config.sources['threads.minimum']}),"
            f" above threads.maximum, {config.threads.maximum}"
            f" ({config.sources['threads.maximum']})",
            hint="set threads.minimum to at most threads.maximum",
        )
    socket = os.fsencode(config.kernel.socket)
    if len(socket) > MAX_SOCKET_BYTES:
        raise ConfigError(
            f"kernel.socket ({config.sources['kernel.socket']}) has {len(socket)} bytes:"
            f" {config.kernel.socket}",
            hint=f"a socket's path may have at most {MAX_SOCKET_BYTES}; choose a shorter one",
        )


# Where things are


def _find_paths(environ: Mapping[str, str]) -> tuple[Paths, dict[str, str]]:
    """The folders, and where each came from. Relative XDG paths are ignored, as XDG wants."""
    if root := environ.get("LINGOS_HOME"):
        home = Path(root).expanduser().absolute()
        names = {f.name: home / f.name.removesuffix("_dir") for f in fields(Paths)}
        return Paths(**names), {f"paths.{name}": "environment LINGOS_HOME" for name in names}
    user = Path(environ.get("HOME") or Path.home())
    found: dict[str, Path] = {}
    sources: dict[str, str] = {}
    for name, variable, fallback in (
        ("config_dir", "XDG_CONFIG_HOME", user / ".config"),
        ("data_dir", "XDG_DATA_HOME", user / ".local/share"),
        ("state_dir", "XDG_STATE_HOME", user / ".local/state"),
        ("cache_dir", "XDG_CACHE_HOME", user / ".cache"),
        ("runtime_dir", "XDG_RUNTIME_DIR", None),
    ):
        given = environ.get(variable, "")
        if Path(given).is_absolute():
            found[name] = Path(given) / "lingos"
            sources[f"paths.{name}"] = f"environment {variable}"
        else:
            # Without a runtime folder of the system, the state folder is the private one we have.
            found[name] = fallback / "lingos" if fallback else found["state_dir"] / "run"
            sources[f"paths.{name}"] = "default"
    return Paths(**found), sources


def _default_socket(paths: Paths) -> Path:
    socket = paths.runtime_dir / "kernel.sock"
    if len(os.fsencode(socket)) <= MAX_SOCKET_BYTES:
        return socket
    import hashlib
    import tempfile

    digest = hashlib.sha256(os.fsencode(socket)).hexdigest()[:16]
    return Path(tempfile.gettempdir()) / f"lingos-{os.getuid()}" / f"{digest}.sock"


# Layers: each yields (setting, checked value, source)

_Layer = Iterator[tuple[_Setting, Any, str]]


def _read_project(project_dir: Path | None, settings: Mapping[str, _Setting]) -> _Layer:
    if project_dir is None:
        return
    start = project_dir.absolute()
    for folder in (start, *start.parents):
        path = folder / PROJECT_FILE
        if path.is_file():
            for setting, value, source in _read_toml(path, "project", settings):
                if setting.key in NOT_IN_PROJECTS:
                    raise ConfigError(
                        f"{path} sets {setting.key}, which a project may not",
                        hint=f"set it in the user's {USER_FILE} or as {setting.variable}",
                    )
                yield setting, value, source
            return


def _read_toml(path: Path, origin: str, settings: Mapping[str, _Setting]) -> _Layer:
    try:
        with path.open("rb") as file:
            tables = tomllib.load(file)
    except (FileNotFoundError, NotADirectoryError):
        return
    except OSError as error:
        raise ConfigError(
            f"cannot read {path}: {error.strerror}", hint="mend its permissions or remove it"
        ) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not TOML: {error}", hint="mend it there") from error
    for section, table in tables.items():
        if section not in SECTIONS:
            hint = did_you_mean(section, SECTIONS, otherwise=f"known: {', '.join(SECTIONS)}")
            raise ConfigError(f"{path}: unknown section [{section}]", hint=hint)
        if not isinstance(table, dict):
            raise ConfigError(
                f"{path}: {section} = {table!r}, but {section} is a section",
                hint=f"write [{section}] on a line of its own and the settings below it",
            )
        for name, value in table.items():
            setting = _known(f"{section}.{name}", settings, str(path))
            base = path.parent
            yield setting, _check(setting, value, str(path), base), f"{origin} {path}"


def _read_environment(environ: Mapping[str, str], settings: Mapping[str, _Setting]) -> _Layer:
    by_variable = {s.variable: s for s in settings.values()}
    by_variable |= {variable: settings[key] for variable, key in _ALIASES.items()}
    for variable, setting in by_variable.items():
        if variable in environ:
            where = f"environment {variable}"
            yield setting, _check(setting, _parse(setting, environ[variable]), where), where


def _read_overrides(overrides: Mapping[str, Any], settings: Mapping[str, _Setting]) -> _Layer:
    where = "command line"
    for key, given in overrides.items():
        if given is not None:
            setting = _known(key, settings, where)
            value = _parse(setting, given) if isinstance(given, str) else given
            yield setting, _check(setting, value, where), where


def _known(key: str, settings: Mapping[str, _Setting], where: str) -> _Setting:
    if key in settings:
        return settings[key]
    section = key.split(".")[0] + "."
    siblings = [known.removeprefix(section) for known in settings if known.startswith(section)]
    otherwise = f"{section[:-1]} has {', '.join(siblings)}" if siblings else ""
    raise ConfigError(
        f"{where}: unknown setting {key}", hint=did_you_mean(key, settings, otherwise=otherwise)
    )


def _unknown_variables(
    environ: Mapping[str, str], settings: Mapping[str, _Setting]
) -> Iterator[str]:
    known = {s.variable for s in settings.values()} | _ALIASES.keys() | _OTHER_VARIABLES
    for variable in sorted(environ):
        if variable.startswith("LINGOS_") and variable not in known:
            hint = did_you_mean(variable, known)
            yield f"environment variable {variable} is unknown" + (f": {hint}" if hint else "")


# Values

_TRUE, _FALSE = frozenset({"1", "true", "yes", "on"}), frozenset({"0", "false", "no", "off"})


def _parse(setting: _Setting, text: str) -> Any:
    """The typed value of a text, or the text itself where it does not parse (checked later)."""
    if setting.kind == (tuple[str, ...] | None):
        return [part.strip() for part in text.split(",") if part.strip()]
    folded = text.strip().lower()
    if setting.kind is bool:
        return True if folded in _TRUE else False if folded in _FALSE else text
    if setting.kind in (int, float):
        try:
            return setting.kind(folded)
        except ValueError:
            return text
    return text


def _check(setting: _Setting, value: Any, where: str, base: Path | None = None) -> Any:
    """The value in its own type; raises `ConfigError` when it is not one of the setting's."""
    kind = setting.kind
    wrong = object()
    good = wrong
    if kind is Path:
        if isinstance(value, str | Path) and str(value):
            good = (base or Path.cwd()) / Path(value).expanduser()
    elif kind == (tuple[str, ...] | None):
        if isinstance(value, list | tuple) and all(isinstance(item, str) for item in value):
            good = tuple(value)
    elif get_origin(kind) is Literal:
        good = value if value in get_args(kind) else wrong
    elif _is_a(value, kind) and _within(value, setting.bounds):
        good = kind(value)
    if good is wrong:
        raise ConfigError(
            f"{where}: {setting.key} = {value!r} is not allowed",
            hint=f"{setting.key} is {_allowed(setting)}",
        )
    return good


def _is_a(value: Any, kind: Any) -> bool:
    if isinstance(value, bool):
        return kind is bool
    return isinstance(value, int | float) if kind is float else isinstance(value, kind)


def _within(value: Any, bounds: Mapping[str, Any]) -> bool:
    if "minimum" in bounds and not value >= bounds["minimum"]:
        return False
    return "above" not in bounds or value > bounds["above"]


def _allowed(setting: _Setting) -> str:
    if get_origin(setting.kind) is Literal:
        return "one of " + ", ".join(get_args(setting.kind))
    names = {
        bool: "true or false",
        int: "a whole number",
        float: "a number",
        str: "a text",
        Path: "a path",
    }
    name = names.get(setting.kind, "a list of names")
    if "minimum" in setting.bounds:
        return f"{name}, at least {setting.bounds['minimum']}"
    return f"{name} above {setting.bounds['above']}" if "above" in setting.bounds else name
