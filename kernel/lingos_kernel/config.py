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
from typing import Any, Literal, get_type_hints

from lingos_kernel.errors import ConfigError
from lingos_kernel.names import did_you_mean
from lingos_kernel.paths import MAX_SOCKET_BYTES, Paths, default_socket, find_paths
from lingos_kernel.setting import Setting, check, parse

PROJECT_FILE = ".lingos.toml"
USER_FILE = "config.toml"
LogLevel = Literal["debug", "info", "warning", "error"]


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
    idle_unload_s: float = field(default=0.0, metadata={"minimum": 0})
    """An idle model leaves the memory after so long; 0: it stays until another needs the room."""


@dataclass(frozen=True, slots=True)
class EngineConfig:
    """The engine and its scheduler."""

    mode: str = "process"
    """process, inprocess, or the name of a plugin's driver."""
    device: str = "auto"
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    weight_format: Literal["native", "int8", "int4"] = "native"
    """How the weights of causal models are kept; native: in the dtype."""
    kv_format: Literal["native", "int8"] = "native"
    """How keys and values are kept."""
    kv_bytes: int = field(default=0, metadata={"minimum": 0})
    """Bytes for a model's KV pages; 0: the planner decides."""
    memory_bytes: int = field(default=0, metadata={"minimum": 0})
    """For weights and KV pages of all models; 0: a share of what the device has free."""
    host_kv_bytes: int = field(default=0, metadata={"minimum": -1})
    """Host memory for KV pages that a GPU has no room for; 0: a quarter of what is free beside a
    GPU, none on a CPU; -1: none."""
    disk_kv_bytes: int = field(default=0, metadata={"minimum": -1})
    """Disk for KV pages that outlive the engine; 0: 1 GiB or 5 % of what is free; -1: none."""
    max_running: int = field(default=64, metadata={"minimum": 1})
    max_batch_tokens: int = field(default=512, metadata={"minimum": 1})
    policy: str = "priority"
    tenant_weights: Mapping[str, float] = field(default_factory=dict, metadata={"above": 0})
    """Shares that tenants are due under `fair`; who is not named has the weight 1."""
    pace: float = field(default=3.0, metadata={"minimum": 1})
    """A step with prefill lasts at most so many times as long as one that only decodes."""
    max_hold_s: float = field(default=10.0, metadata={"minimum": 0})
    """A conversation's pages are kept across a tool call for at most so long; 0: not at all."""
    tenant_hold_share: float = field(default=0.75, metadata={"minimum": 0})
    """Of the pages that may be held between turns, at most so much for one tenant; 1: all."""
    threads: int = field(default=0, metadata={"minimum": 0})
    """Threads of torch; 0: as many as there are cores."""
    silent_s: float = field(default=30.0, metadata={"minimum": 0})
    """An engine without a sign of life for so long is killed and begun again; 0: never."""
    step_timeout_s: float = field(default=300.0, metadata={"minimum": 0})
    """As one that is busy with a single step for so long (loading may take an hour); 0: never."""


@dataclass(frozen=True, slots=True)
class ThreadsConfig:
    """The pool that runs syscalls."""

    minimum: int = field(default=2, metadata={"minimum": 1})
    maximum: int = field(default=64, metadata={"minimum": 1})


@dataclass(frozen=True, slots=True)
class QueueConfig:
    """Queues of calls and messages."""

    bound: int = field(default=1024, metadata={"minimum": 1})
    workers: int = field(default=4, metadata={"minimum": 0})
    """Durable jobs that run at one time; 0: this kernel accepts jobs and runs none."""
    jobs: int = field(default=1_000_000, metadata={"minimum": 1})
    """Durable jobs that one queue holds."""
    jobs_per_tenant: int = field(default=250_000, metadata={"minimum": 1})
    """Those of one tenant."""


@dataclass(frozen=True, slots=True)
class PluginsConfig:
    """Which plugins are loaded, and how long one may take."""

    load: tuple[str, ...] | None = None
    """None: all that are installed; (): none."""
    slow_s: float = field(default=1.0, metadata={"above": 0})
    """A plugin whose import and register hooks take longer is flagged."""
    import_timeout_s: float = field(default=10.0, metadata={"above": 0})
    """An import, or a register, startup or shutdown hook, that takes longer is given up."""
    hook_timeout_s: float = field(default=1.0, metadata={"above": 0})
    """A plugin whose hook around a call takes longer is turned off."""


@dataclass(frozen=True, slots=True)
class ShellConfig:
    """The terminal interface and the line REPL."""

    theme: str = "lingos-dark"
    """A theme's name; ansi-dark and ansi-light take the terminal's own sixteen colours."""
    editing: Literal["emacs", "vi"] = "emacs"
    """Keys of the line REPL; F4 changes it for a sitting."""
    keys: Mapping[str, str] = field(default_factory=dict)
    """Other keys, by the id of what they do (docs/reference/tui.md lists the ids)."""


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
    shell: ShellConfig
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
    "shell": ShellConfig,
}
NOT_IN_PROJECTS = frozenset({"kernel.socket", "models.store", "shell.keys"})
"""A folder that somebody else wrote must not redirect the user's prompts, models or keys."""

_ALIASES = {"LINGOS_LOAD_PLUGINS": "plugins.load"}
_OTHER_VARIABLES = frozenset({"LINGOS_HOME"})


def _settings() -> dict[str, Setting]:
    found = {}
    for section, kind in SECTIONS.items():
        hints = get_type_hints(kind)
        for item in fields(kind):
            key = f"{section}.{item.name}"
            found[key] = Setting(key, hints[item.name], item.metadata)
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
    paths, sources = find_paths(environ)
    settings = _settings()
    values: dict[str, Any] = {
        "kernel.socket": default_socket(paths),
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


# Layers: each yields (setting, checked value, source)

_Layer = Iterator[tuple[Setting, Any, str]]


def _read_project(project_dir: Path | None, settings: Mapping[str, Setting]) -> _Layer:
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


def _read_toml(path: Path, origin: str, settings: Mapping[str, Setting]) -> _Layer:
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
            yield setting, check(setting, value, str(path), base), f"{origin} {path}"


def _read_environment(environ: Mapping[str, str], settings: Mapping[str, Setting]) -> _Layer:
    by_variable = {s.variable: s for s in settings.values()}
    by_variable |= {variable: settings[key] for variable, key in _ALIASES.items()}
    for variable, setting in by_variable.items():
        if variable in environ:
            where = f"environment {variable}"
            yield setting, check(setting, parse(setting, environ[variable]), where), where


def _read_overrides(overrides: Mapping[str, Any], settings: Mapping[str, Setting]) -> _Layer:
    where = "command line"
    for key, given in overrides.items():
        if given is not None:
            setting = _known(key, settings, where)
            value = parse(setting, given) if isinstance(given, str) else given
            yield setting, check(setting, value, where), where


def _known(key: str, settings: Mapping[str, Setting], where: str) -> Setting:
    if key in settings:
        return settings[key]
    section = key.split(".")[0] + "."
    siblings = [known.removeprefix(section) for known in settings if known.startswith(section)]
    otherwise = f"{section[:-1]} has {', '.join(siblings)}" if siblings else ""
    raise ConfigError(
        f"{where}: unknown setting {key}", hint=did_you_mean(key, settings, otherwise=otherwise)
    )


def _unknown_variables(
    environ: Mapping[str, str], settings: Mapping[str, Setting]
) -> Iterator[str]:
    known = {s.variable for s in settings.values()} | _ALIASES.keys() | _OTHER_VARIABLES
    for variable in sorted(environ):
        if variable.startswith("LINGOS_") and variable not in known:
            hint = did_you_mean(variable, known)
            yield f"environment variable {variable} is unknown" + (f": {hint}" if hint else "")
