"""`lingos pull`, `models`, `show` and `rm`: the model store."""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import click

from lingos_kernel.client.protocol import KernelClient
from lingos_shell.calls import follow
from lingos_shell.common_options import common_options
from lingos_shell.completion import complete_models
from lingos_shell.invocation import Invocation
from lingos_shell.output import write_json, write_line, write_table
from lingos_shell.tables import plain_table
from lingos_shell.units import bytes_text, count_text

if TYPE_CHECKING:
    from rich.table import Table

Model = Mapping[str, Any]


@click.command("pull")
@click.argument("source")
@click.option("--alias", metavar="NAME", help="Also store it under this name.")
@common_options
def pull_command(invocation: Invocation, *, source: str, alias: str | None) -> None:
    """Fetch a model into the store.

    SOURCE is a name of the catalogue (smollm2-135m-instruct), hf:ORG/NAME[@REVISION], a local
    folder, or a .gguf file. Progress is drawn on stderr when that is a terminal.
    """

    async def fetch(client: KernelClient) -> Model:
        return await pull(client, absolute_source(source), alias)

    model = invocation.run(fetch)
    write_json(model) if invocation.as_json else write_line(pulled_line(model))


@click.command("models")
@common_options
def models_command(invocation: Invocation) -> None:
    """List the models in the store."""

    async def fetch(client: KernelClient) -> list[Model]:
        models: list[Model] = await client.call("model.list")
        return models

    models = invocation.run(fetch)
    write_json(models) if invocation.as_json else write_table(render_models(models))


@click.command("show")
@click.argument("name", shell_complete=complete_models)
@common_options
def show_command(invocation: Invocation, *, name: str) -> None:
    """Show everything known about a model."""

    async def fetch(client: KernelClient) -> Model:
        model: Model = await follow(client, "model.show", {"name": name})
        return model

    model = invocation.run(fetch)
    write_json(model) if invocation.as_json else write_table(render_model(model))


@click.command("rm")
@click.argument("names", nargs=-1, required=True, shell_complete=complete_models)
@common_options
def rm_command(invocation: Invocation, *, names: tuple[str, ...]) -> None:
    """Remove models from the store."""

    async def remove(client: KernelClient) -> None:
        confirmed = client.with_options(confirmed=True)  # typing `rm` is the person's yes
        for name in names:
            await confirmed.call("model.remove", name=name)

    invocation.run(remove)
    if invocation.as_json:
        write_json({"removed": list(names)})
    else:
        write_line("\n".join(f"removed {name}" for name in names))


async def pull(client: KernelClient, source: str, alias: str | None) -> Model:
    """The stored model, once it is there."""
    arguments = {"source": source, **({"alias": alias} if alias else {})}
    model: Model = await follow(client, "model.pull", arguments)
    return model


def absolute_source(source: str) -> str:
    """A path of this folder made absolute (the kernel works in another); names stay as they are."""
    from pathlib import Path

    path = Path(source).expanduser()
    is_path = source.startswith((".", "/", "~")) or path.suffix == ".gguf" or path.is_dir()
    return str(path.absolute()) if is_path else source


def pulled_line(model: Model) -> str:
    """One line about a model that has just been stored."""
    return f"{model['name']}  {bytes_text(model['bytes_on_disk'])}  {model['id'][:12]}"


def render_models(models: Iterable[Model]) -> Table:
    """One row per model."""
    rows = [
        (
            str(model["name"]),
            str(model["kind"]),
            str(model["architecture"]),
            count_text(model["parameters"]),
            bytes_text(model["bytes_on_disk"]),
            str(model["context_tokens"]),
            residence_text(model),
            str(model["id"])[:12],
        )
        for model in models
    ]
    columns = ("NAME", "KIND", "ARCHITECTURE", "PARAMETERS", "SIZE", "CONTEXT", "MEMORY", "ID")
    return plain_table(columns, rows, right=("PARAMETERS", "SIZE", "CONTEXT"))


def residence_text(model: Model) -> str:
    """Whether a model is in memory, and why it stays there."""
    state = str(model.get("state", "stored"))
    kept = [
        "pinned" if model.get("pinned") else "",
        f"reserved for {model['reserved']}" if model.get("reserved") else "",
    ]
    return ", ".join(["-" if state == "stored" else state, *(text for text in kept if text)])


def render_model(model: Model) -> Table:
    """One row per fact."""
    from rich.table import Table
    from rich.text import Text

    table = Table.grid(padding=(0, 2))
    for key, value in model.items():
        table.add_row(Text(key, style="bold"), Text(_fact_text(key, value)))
    return table


def _fact_text(key: str, value: Any) -> str:
    if isinstance(value, list | tuple):
        return "\n".join(_item_text(item) for item in value) or "-"
    if isinstance(value, dict):
        return "\n".join(f"{name} {_fact_text(name, item)}" for name, item in value.items())
    if key.endswith("_at") and isinstance(value, float):
        return datetime.datetime.fromtimestamp(value, datetime.UTC).isoformat(" ", "seconds")
    if "bytes" in key and isinstance(value, int):
        return f"{bytes_text(value)} ({value} bytes)"
    return "-" if value in (None, "") else str(value)


def _item_text(item: Any) -> str:
    if isinstance(item, dict) and {"path", "bytes"} <= item.keys():
        return f"{item['path']}  {bytes_text(item['bytes'])}"
    return str(item)
