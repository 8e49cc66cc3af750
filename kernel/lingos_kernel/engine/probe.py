"""What a model's attention layers ask for, found by watching one small forward pass.

The mask that a model builds for each layer is asked what it lets through, so windows are those
of the model's own code. What pages cannot give is refused here, when the model is loaded.
"""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar
from typing import Any

import torch
from torch import Tensor, nn

from lingos_kernel.engine.kv_cache import LayerShape
from lingos_kernel.errors import UnsupportedModel

PROBE = "lingos_probe"
"""Name of the watching attention function in transformers' registry."""

_FAR = 1 << 22
"""A position beyond every window."""

# What a layer may hand to its attention function besides scaling, softcap and sinks: either
# covered by the mask, or without effect when nothing is trained, cached or returned.
_HARMLESS = frozenset(
    [
        "dropout",
        "sliding_window",
        "is_causal",
        "position_ids",
        "position_embeddings",
        "use_cache",
        "past_key_values",
        "cache_position",
        "output_attentions",
        "output_hidden_states",
        "output_router_logits",
        "return_dict",
        "training",
        "deterministic",
    ]
)

Found = list[tuple[nn.Module, LayerShape]]
_found: ContextVar[Found] = ContextVar("found")


def probe(model: Any, name: str) -> Found:
    """The attention modules of a model with their shapes, by layer.

    Raises `UnsupportedModel` when pages cannot hold what the model needs.
    """
    _refuse_state(model, name)
    found: Found = []
    token = _found.set(found)
    before = model.config._attn_implementation
    try:
        model.set_attn_implementation(PROBE)
        with torch.inference_mode():
            ids = torch.zeros(1, 2, dtype=torch.int64, device=model.device)
            model(input_ids=ids, position_ids=torch.arange(2, device=model.device)[None],
                  use_cache=False)  # fmt: skip
    finally:
        _found.reset(token)
        model.set_attn_implementation(before)
    found.sort(key=lambda layer: layer[1].index)
    _refuse_missing(model, name, found)
    return found


def probe_attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    softcap: float | None = None,
    s_aux: Tensor | None = None,
    **others: Any,
) -> tuple[Tensor, None]:
    """Take down what the layer asks for; attends to nothing."""
    odd = sorted(
        name
        for name, value in others.items()
        if name not in _HARMLESS and value is not None and value is not False
    )
    if odd:
        raise UnsupportedModel(
            f"{type(module).__name__} wants {', '.join(odd)} in its attention",
            hint="this engine cannot give that; choose another model",
        )
    shape = LayerShape(
        index=int(module.layer_idx),  # type: ignore[arg-type]  # transformers numbers its layers
        query_heads=query.shape[1],
        kv_heads=key.shape[1],
        key_dim=key.shape[3],
        value_dim=value.shape[3],
        dtype=value.dtype,
        scaling=query.shape[3] ** -0.5 if scaling is None else float(scaling),
        window=_window_of(module, attention_mask, others.get("sliding_window")),
        softcap=softcap,
        has_sinks=s_aux is not None,
    )
    _found.get().append((module, shape))
    return query.new_zeros(query.shape[0], query.shape[2], query.shape[1], value.shape[3]), None


def probe_mask(*, mask_function: Callable[..., Tensor], device: Any = None, **_: Any) -> Tensor:
    """Instead of a mask, the window that its function describes; 0: causal without one."""

    def sees(query: int, key: int) -> bool:
        zero = torch.tensor(0)
        return bool(mask_function(zero, zero, torch.tensor(query), torch.tensor(key)))

    if sees(_FAR, _FAR + 1):
        raise UnsupportedModel(
            "the model looks at later tokens", hint="load it as an encoder if it is one"
        )
    windows = {_reach(sees, query) for query in (_FAR, _FAR + 1, _FAR + 7)}
    if len(windows) != 1:
        raise UnsupportedModel(
            "the model attends within chunks of the context",
            hint="this engine has full and sliding-window attention; choose another model",
        )
    return torch.full((1, 1, 1, 1), float(windows.pop()), device=device)


def _reach(sees: Callable[[int, int], bool], query: int) -> int:
    """How many newest positions a query sees; 0 when it sees them all."""
    if sees(query, 0):
        return 0
    seen, unseen = 0, query  # distances: `seen` is visible, `unseen` is not
    while unseen - seen > 1:
        middle = (seen + unseen) // 2
        seen, unseen = (middle, unseen) if sees(query, query - middle) else (seen, middle)
    return unseen


def _window_of(module: nn.Module, mask: Tensor | None, argument: int | None) -> int | None:
    if mask is None:
        return argument
    if mask.shape != (1, 1, 1, 1):
        raise UnsupportedModel(
            f"{type(module).__name__} builds an attention mask of its own",
            hint="this engine has full and sliding-window attention; choose another model",
        )
    return int(mask.item()) or None


def _refuse_state(model: Any, name: str) -> None:
    shared = getattr(model.config.get_text_config(), "num_kv_shared_layers", 0)
    recurrent = getattr(model, "_is_stateful", False) or any(
        isinstance(module, nn.Conv1d) for module in model.modules()
    )
    if shared or recurrent:
        what = "shares keys between layers" if shared else "keeps a state beside keys and values"
        raise UnsupportedModel(
            f"{name} ({type(model).__name__}) {what}",
            hint="this engine runs models whose every layer is attention; choose another model",
        )


def _refuse_missing(model: Any, name: str, found: Found) -> None:
    layers = model.config.get_text_config().num_hidden_layers
    indices = [shape.index for _, shape in found]
    if indices != list(range(layers)):
        raise UnsupportedModel(
            f"{name} ({type(model).__name__}): {len(set(indices))} of {layers} layers attend"
            " through transformers' AttentionInterface",
            hint="this engine runs models whose every layer does; choose another model",
        )
