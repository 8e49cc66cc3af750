"""Which engine runs: LingOS's own in a process or in a thread, or a driver of a plugin."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from lingos_kernel.config import Config
from lingos_kernel.engine.host import EngineHost
from lingos_kernel.engine.protocol import Engine
from lingos_kernel.engine.settings import EngineSettings
from lingos_kernel.engine.transport import PipeTransport, ThreadTransport, Transport
from lingos_kernel.engine.watchdog import Patience
from lingos_kernel.errors import ConfigError
from lingos_kernel.names import did_you_mean
from lingos_kernel.scheduling.catalogue import POLICIES, make_policy

OWN = ("process", "inprocess")


def make_engine(
    config: Config,
    *,
    drivers: Mapping[str, Callable[[Config], Engine]],
    policies: Mapping[str, Any],
) -> Engine:
    """The engine that `engine.mode` names; raises `ConfigError` for an unknown one, or policy."""
    mode = config.engine.mode
    if mode in drivers:
        return drivers[mode](config)
    if mode not in OWN:
        raise ConfigError(
            f"engine.mode is {mode!r}, and no driver has that name",
            hint=did_you_mean(mode, [*OWN, *drivers]) or f"use one of {', '.join(OWN)}",
        )
    settings = engine_settings(config, policies)
    make_policy(settings.policy, settings.tenant_weights)  # raises what is wrong with them
    transport: Transport
    if mode == "process":
        engine = config.engine
        patience = Patience(silent_s=engine.silent_s, step_s=engine.step_timeout_s)
        transport = PipeTransport(settings, patience=patience)
    else:  # a thread that hangs cannot be ended
        transport = ThreadTransport(settings)
    return EngineHost(transport)


def engine_settings(config: Config, policies: Mapping[str, Any]) -> EngineSettings:
    """The configuration as the engine gets it."""
    engine = config.engine
    return EngineSettings(
        device=engine.device,
        dtype=engine.dtype,
        kv_bytes=engine.kv_bytes,
        host_kv_bytes=engine.host_kv_bytes,
        disk_kv_bytes=engine.disk_kv_bytes,
        disk_kv_dir=str(config.paths.cache_dir / "kv"),
        max_running=engine.max_running,
        max_batch_tokens=engine.max_batch_tokens,
        policy=policy_reference(engine.policy, policies),
        tenant_weights=dict(engine.tenant_weights),
        pace=engine.pace,
        tenant_hold_share=engine.tenant_hold_share,
        threads=engine.threads,
        log_level=config.kernel.log_level.upper(),
    )


def policy_reference(name: str, policies: Mapping[str, Any]) -> str:
    """How the engine knows a policy: a plugin's as MODULE:CLASS, as it may be another process.

    Raises `ConfigError` when nobody registered the name: who may name a policy may not have
    just anything imported and called.
    """
    if policy := policies.get(name):
        return f"{policy.__module__}:{policy.__qualname__}"
    if name not in POLICIES:
        choices = sorted({*POLICIES, *policies})
        raise ConfigError(
            f"no scheduling policy is called {name!r}",
            hint=did_you_mean(name, choices) or f"use one of {', '.join(choices)}",
        )
    return name
