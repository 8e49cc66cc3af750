"""The kernel, the default model and the plugins; starts no kernel and loads no plugin."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from lingos_kernel import __version__
from lingos_kernel.errors import CorruptModel, DigestMismatch, LingOSError, ModelError, UnknownModel
from lingos_kernel.models.store import ModelStore
from lingos_shell.doctor.finding import Finding, fail, ok, warn
from lingos_shell.units import bytes_text

Ping = Mapping[str, Any]


def check_kernel(answer: Ping | LingOSError) -> Finding:
    """Whether the resident kernel, if one runs, answers and has this program's version."""
    if isinstance(answer, LingOSError):
        if answer.details.get("reason") == "absent":
            return ok("kernel", "not running; the first command that needs one starts it")
        return fail("kernel", answer.message, answer.hint or "lingos kernel stop")
    version = str(answer["version"])
    if version != __version__:
        detail = f"version {version} runs, but version {__version__} is installed"
        return warn("kernel", detail, "lingos kernel stop; the next command starts the new one")
    return ok("kernel", f"version {version}, process {answer['os_pid']}")


def check_model(store: ModelStore, name: str) -> Finding:
    """Whether the default model is in the store and each file has its digest."""
    try:
        model = store.resolve(name)
        store.verify(name)
    except UnknownModel:
        return warn("model", f"{name} is not in the store yet", f"lingos pull {name}")
    except (CorruptModel, DigestMismatch) as error:
        return fail("model", error.message, f"lingos rm {name} && lingos pull {name}")
    except ModelError as error:
        return fail("model", error.message, error.hint)
    return ok("model", f"{model.name}, {bytes_text(model.bytes_on_disk)}, every digest is right")


def check_plugins(records: Iterable[Mapping[str, Any]]) -> Finding:
    """Whether every plugin that was tried has loaded."""
    rows = list(records)
    broken = [row for row in rows if row.get("error")]
    slow = [row for row in rows if row.get("slow")]
    if broken:
        names = "; ".join(f"{row['name']}: {row['error']}" for row in broken)
        mend = "update or uninstall it, or leave it out with LINGOS_LOAD_PLUGINS"
        return warn("plugins", names, mend)
    if slow:
        names = ", ".join(str(row["name"]) for row in slow)
        return warn("plugins", f"slow to load: {names}", "`lingos plugins` shows the times")
    return ok("plugins", ", ".join(str(row["name"]) for row in rows) or "none installed")
