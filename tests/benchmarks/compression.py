"""What compressed weights and KV pages cost in accuracy, and what they gain in bytes and speed.

    python tests/benchmarks/compression.py FOLDER [TEXT] [--rounds 5] [--windows 12] [--threads 1]

FOLDER is a causal model in the Hugging Face layout. TEXT is a file of plain English, or of JSON
lines, of which the longest string of each counts; LINGOS_BENCHMARK_TEXT names one too. Without
it, this project's own documents are read. Perplexity is that of the engine's own scores
(`llm.score` takes the same way), over windows of the text of equal length. Keys and values are read
as pages hold them, so the formats of KV pages count. All formats score the same windows: the drift
has the standard error of its mean over them.

With --shuffled, a model of Llama's layout is scored once more with its channels in another order,
in which it computes the same: weights that come from a file in four bits lose their grid by that.
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import json
import math
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

import torch
from shuffled_model import write_shuffled

from lingos_kernel.engine.core import EngineCore
from lingos_kernel.engine.messages import (
    Failed,
    Generate,
    KvFormat,
    LoadModel,
    ModelLoaded,
    ModelSpec,
    Outputs,
    SamplingParams,
    SequenceOutput,
    WeightFormat,
)
from lingos_kernel.engine.settings import EngineSettings
from lingos_kernel.memory.pages import PAGE_SLOTS
from lingos_kernel.models.text_codec import TextCodec

BATCH = 8
KV_BYTES = 64 << 20
PROMPT_TOKENS = 4 * PAGE_SLOTS + 1
"""All but the last lie in whole pages: found in the prefix tree from the second round on."""
FORMATS: tuple[tuple[WeightFormat, KvFormat], ...] = (
    ("native", "native"),
    ("native", "int8"),
    ("int8", "native"),
    ("int8", "int8"),
    ("int4", "native"),
    ("int4", "int8"),
)
WEIGHT_FORMATS: tuple[WeightFormat, ...] = ("native", "int8", "int4")


class Format:
    """The model in one format, in an engine of its own."""

    def __init__(self, folder: Path, weights: WeightFormat, kv: KvFormat, threads: int) -> None:
        self.name = f"{weights} / {kv}"
        self.before_bytes = own_bytes()
        self.core = EngineCore(EngineSettings(threads=threads))
        spec = ModelSpec(
            name="m", path=str(folder), weight_format=weights, kv_format=kv, kv_bytes=KV_BYTES
        )
        answer = self.core.handle(LoadModel(spec))[0]
        if not isinstance(answer, ModelLoaded):
            raise SystemExit(f"{self.name}: {answer}")
        self.loaded = answer
        self.resident_bytes = 0
        self.losses: list[float] = []
        self.rates: dict[str, list[float]] = {"alone": [], "batch": [], "prefill": []}

    @property
    def perplexity(self) -> float:
        """Over all windows."""
        return math.exp(statistics.fmean(self.losses))

    def score(self, windows: list[list[int]]) -> None:
        """Take the nats per token of each window, each read alone; then the memory."""
        params = SamplingParams(max_tokens=0, prompt_logprobs=0)
        for index, window in enumerate(windows):
            outputs = self._run(Generate(f"w{index}", "m", tuple(window), params))
            scores = [token.logprob for output in outputs for token in output.prompt_logprobs]
            self.losses.append(-math.fsum(scores) / len(scores))
        self.resident_bytes = own_bytes() - self.before_bytes

    def drift(self, base: Format) -> tuple[float, float]:
        """How much higher perplexity is than that of `base`, and the standard error; in percent."""
        pairs = zip(self.losses, base.losses, strict=True)
        differences = [own - other for own, other in pairs]
        ratio = math.exp(statistics.fmean(differences))
        error = statistics.stdev(differences) / math.sqrt(len(differences))
        return (ratio - 1) * 100, ratio * error * 100

    def time(self, seed: int, *, tokens: int, prefill: int) -> None:
        """One round: decode alone and in a batch, and read a prompt that is new."""
        self._time("alone", 1, 1, PROMPT_TOKENS, tokens)
        self._time("batch", 2, BATCH, PROMPT_TOKENS, tokens)
        self._time("prefill", seed, 1, prefill, 0)

    def _time(self, case: str, seed: int, count: int, length: int, tokens: int) -> None:
        """Decoding is timed from the first token on."""
        generator = torch.Generator().manual_seed(seed)
        prompts = torch.randint(3, 250, (count, length), generator=generator).tolist()
        params = SamplingParams(max_tokens=max(tokens, 1), ignore_eos=True)
        for index, prompt in enumerate(prompts):
            self.core.handle(Generate(f"r{index}", "m", tuple(prompt), params))
        started_s, made, first = time.perf_counter(), 0, 0
        while self.core.has_work:
            for event in self.core.step():
                if isinstance(event, Outputs):
                    made += sum(len(output.token_ids) for output in event.outputs)
            if tokens and not first and made >= count:
                started_s, first = time.perf_counter(), made
        elapsed_s = time.perf_counter() - started_s
        self.rates[case].append((made - first if tokens else length) / elapsed_s)

    def _run(self, request: Generate) -> list[SequenceOutput]:
        events = self.core.handle(request)
        while self.core.has_work:
            events += self.core.step()
        for event in events:
            if isinstance(event, Failed):
                raise SystemExit(f"{self.name}: {event.error}")
        return [output for e in events if isinstance(e, Outputs) for output in e.outputs]


def own_bytes() -> int:
    """Memory of this process that no file backs, where the system tells it (Linux with glibc)."""
    gc.collect()
    try:
        ctypes.CDLL(None).malloc_trim(0)  # what is free must not hide what the next format takes
        status = Path("/proc/self/status").read_text("utf-8")
    except (AttributeError, FileNotFoundError):
        return 0
    line = next(line for line in status.splitlines() if line.startswith("RssAnon"))
    return int(line.split()[1]) * 1024


def text_of(path: Path | None) -> str:
    """The text to score."""
    if path is None:
        print("no TEXT given: reading this project's own documents, which are few")
        documents = sorted(Path(__file__).parents[2].glob("docs/**/*.md"))
        return "\n\n".join(document.read_text("utf-8") for document in documents)
    text = path.read_text("utf-8")
    if path.suffix != ".jsonl":
        return text
    records = [json.loads(line) for line in text.splitlines() if line.strip()]
    strings = [[value for value in r.values() if isinstance(value, str)] for r in records]
    return "\n\n".join(max(values, key=len) for values in strings if values)


def windows_of(folder: Path, text: str, count: int, length: int) -> list[list[int]]:
    """Pieces of equal length in tokens, evenly spread over the text; fewer if it is short."""
    stride = max(len(text) // max(count, 1), 1)
    codec = TextCodec.load(folder)
    pieces = [
        codec.encode(text[at : at + 8 * length])[:length] for at in range(0, len(text), stride)
    ]
    return [piece for piece in pieces if len(piece) == length][:count]


def row(form: Format, base: Format) -> str:
    """One line of the table, in Markdown."""
    drift = "| " if form is base else "| {:+.2f} ± {:.2f} %".format(*form.drift(base))
    rates = [statistics.median(form.rates[case]) for case in ("alone", "batch", "prefill")]
    return (
        f"| {form.name} | {form.perplexity:.3f} {drift}"
        f" | {form.loaded.weight_bytes / 1e6:.0f} | {form.resident_bytes / 1e6:.0f}"
        f" | {form.loaded.page_bytes // PAGE_SLOTS:,} | {form.loaded.pages:,}"
        f" | {rates[0]:.1f} | {rates[1]:.1f} | {rates[2]:.0f} |"
    )


def measure(options: argparse.Namespace, windows: list[list[int]]) -> list[Format]:
    """All formats, scored one after another, then timed in turns."""
    forms = []
    for names in FORMATS:
        form = Format(options.folder, *names, options.threads)
        form.score(windows)
        forms.append(form)
        print(f"{form.name}: perplexity {form.perplexity:.3f}", file=sys.stderr)
    time_in_turns(forms, options)
    return forms


def time_in_turns(forms: list[Format], options: argparse.Namespace) -> None:
    """The rounds, after one of warm-up."""
    for index in range(options.rounds + 1):
        for form in forms:
            form.time(10 + index, tokens=options.tokens, prefill=options.prefill)
    for form in forms:
        for rates in form.rates.values():
            del rates[0]  # of the warm-up


def measure_shuffled(options: argparse.Namespace, windows: list[list[int]], base: Format) -> None:
    """Print the drift of the shuffled model in each format of weights."""
    with tempfile.TemporaryDirectory() as folder:
        shuffled = Path(folder) / "shuffled"
        write_shuffled(options.folder, shuffled)
        for weights in WEIGHT_FORMATS:
            form = Format(shuffled, weights, "native", options.threads)
            form.score(windows)
            drift, error = form.drift(base)
            print(f"shuffled, {form.name}: perplexity {form.perplexity:.3f},"
                  f" {drift:+.2f} ± {error:.2f} %")  # fmt: skip
            del form


def options_given() -> argparse.Namespace:
    """What the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    given = os.environ.get("LINGOS_BENCHMARK_TEXT")
    parser.add_argument("text", type=Path, nargs="?", default=Path(given) if given else None)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--windows", type=int, default=12)
    parser.add_argument("--length", type=int, default=512)
    parser.add_argument("--tokens", type=int, default=16)
    parser.add_argument("--prefill", type=int, default=256)
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--shuffled", action="store_true")
    return parser.parse_args()


def main() -> None:
    """Print a table in Markdown, and how busy the machine was."""
    options = options_given()
    windows = windows_of(options.folder, text_of(options.text), options.windows, options.length)
    if len(windows) < 2:
        raise SystemExit(f"the text is too short for two windows of {options.length} tokens")
    started_s, load_before = time.perf_counter(), os.getloadavg()[0]
    forms = measure(options, windows)
    print(
        f"{options.rounds} rounds, {len(windows)} windows of {options.length} tokens,"
        f" {forms[0].core.device.description}, {torch.get_num_threads()} threads,"
        f" load {load_before:.1f} before and {os.getloadavg()[0]:.1f} after,"
        f" {time.perf_counter() - started_s:.0f} s"
    )
    print(
        "| weights / KV | perplexity | drift | weights MB | own memory MB | KV bytes per token"
        f" | pages in {KV_BYTES >> 20} MiB | alone tokens/s | batch of {BATCH} | prefill |"
    )
    print("|---|---|---|---|---|---|---|---|---|---|")
    for form in forms:
        print(row(form, forms[0]))
    if options.shuffled:
        measure_shuffled(options, windows, forms[0])


if __name__ == "__main__":
    main()
