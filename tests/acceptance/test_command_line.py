"""The command line against a real kernel with the real default model."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pexpect
import pytest

from lingos_kernel.models.store import ModelStore, StoredModel

pytestmark = [pytest.mark.model, pytest.mark.slow, pytest.mark.timeout(300)]

LINGOS = [sys.executable, "-m", "lingos_shell"]
LONG = "Write a very long story about a dog."
Lingos = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="module")
def environ(
    tmp_path_factory: pytest.TempPathFactory, model_store: ModelStore, default_model: StoredModel
) -> Iterator[dict[str, str]]:
    """A user with a fresh home; the kernel that the tests start is stopped at the end."""
    clean = {key: value for key, value in os.environ.items() if not key.startswith("LINGOS_")}
    clean |= {
        "LINGOS_HOME": str(tmp_path_factory.mktemp("home")),
        "LINGOS_MODELS_STORE": str(model_store.root),
    }
    yield clean
    subprocess.run([*LINGOS, "kernel", "stop"], env=clean, check=True, capture_output=True)


@pytest.fixture
def lingos(environ: dict[str, str], tmp_path: Path) -> Lingos:
    """Runs a command line to its end: `lingos("run", "Hello", stdin="text")`."""

    def run(*words: str, stdin: str | bytes = b"") -> subprocess.CompletedProcess[str]:
        content = stdin.encode() if isinstance(stdin, str) else stdin
        done = subprocess.run(
            [*LINGOS, *words],
            env=environ,
            cwd=tmp_path,
            input=content,
            capture_output=True,
            timeout=240,
            check=False,
        )
        return subprocess.CompletedProcess(
            done.args, done.returncode, done.stdout.decode(), done.stderr.decode()
        )

    return run


@pytest.fixture
def terminal(environ: dict[str, str], tmp_path: Path) -> Iterator[Callable[..., Any]]:
    """Starts a command line on a terminal of its own."""
    children = []

    def spawn(*words: str) -> Any:
        child = pexpect.spawn(
            sys.executable,
            ["-m", "lingos_shell", *words],
            env=environ | {"TERM": "xterm-256color", "PROMPT_TOOLKIT_NO_CPR": "1"},
            cwd=str(tmp_path),
            timeout=120,
            encoding="utf-8",
            dimensions=(40, 120),
        )
        children.append(child)
        return child

    yield spawn
    for child in children:
        child.close(force=True)


def running(lingos: Lingos) -> list[dict[str, Any]]:
    """The processes that run something, apart from the one that asks."""
    rows = json.loads(lingos("ps", "--json").stdout)
    return [row for row in rows if row["state"] == "running" and row["command"] != "proc.list"]


def wait_until_idle(lingos: Lingos) -> None:
    """Returns when nothing runs any more: the kernel hears of a lost caller a moment later."""
    deadline_s = time.monotonic() + 30
    while left := running(lingos):
        assert time.monotonic() < deadline_s, left


def start_long_run(environ: dict[str, str], *words: str) -> subprocess.Popen[str]:
    """A `run` that has begun to answer at length."""
    process = subprocess.Popen(
        [*LINGOS, "run", *words, LONG],
        env=environ,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.read(1)
    return process


def test_the_capital_of_france(lingos: Lingos) -> None:
    """The first command starts the kernel and gets the answer, with tokens, times and model."""
    done = lingos("run", "--json", "What is the capital of France? Answer in one sentence.")
    assert (done.returncode, done.stderr) == (0, "")
    result = json.loads(done.stdout)
    assert "Paris" in result["text"]
    assert result["model"] == "smollm2-135m-instruct"
    assert result["finish_reason"] == "stop"
    usage = result["usage"]
    assert usage["prompt_tokens"] > 20
    assert usage["output_tokens"] > 4
    assert 0 <= usage["queue_s"] <= usage["first_token_s"] <= usage["total_s"]


def test_the_next_command_attaches_to_the_same_kernel(lingos: Lingos) -> None:
    """One kernel serves them all."""
    first, second = (json.loads(lingos("kernel", "start", "--json").stdout) for _ in range(2))
    assert first["os_pid"] == second["os_pid"]
    assert lingos("kernel", "status").returncode == 0


def test_piped_text_is_read(lingos: Lingos) -> None:
    """`cat file | lingos run "question"`."""
    done = lingos("run", "What is the name of the dog?", stdin="The dog of Ada is called Bello.")
    assert "Bello" in done.stdout


def test_a_schema_is_always_met(lingos: Lingos) -> None:
    """From the command line to the sampler's masks."""
    schema = {
        "type": "object",
        "properties": {"name": {"type": "string", "maxLength": 12}, "age": {"type": "integer"}},
        "required": ["name", "age"],
        "additionalProperties": False,
    }
    done = lingos("run", "--schema", json.dumps(schema), "Ada is 36. Give her name and age.")
    value = json.loads(done.stdout)
    assert set(value) == {"name", "age"}
    assert isinstance(value["age"], int)


def test_a_seed_repeats_a_random_answer(lingos: Lingos) -> None:
    """The options reach the sampler."""
    words = ["run", "-t", "1.0", "-o", "top_k", "50", "--max-tokens", "12", "Invent a name."]
    one, two = (lingos(*words, "--seed", "7").stdout for _ in range(2))
    other = lingos(*words, "--seed", "8").stdout
    assert one == two != other


@pytest.mark.parametrize(
    ("words", "stdin", "code", "message"),
    [
        (["run"], "", 2, "the prompt is empty"),
        (["run", "Summarize."], "word " * 12_000, 2, "tokens"),
        (["run", "-m", "smollm", "x"], "", 2, "smollm"),
        (["call", "text.sumarize"], "", 2, "did you mean text.summarize"),
        (["call", "sys.noop", "perhaps"], "", 2, "unexpected word"),
        (["call", "llm.chat", "--messages", "[1]"], "", 2, "messages"),
        (["run", "-o", "top_k", "many", "x"], "", 2, "must be an integer"),
        (["run", "-t", "-1", "x"], "", 2, "temperature"),
        (["run", "x"], b"ab\xffcd", 2, "byte 0xff at offset 2"),
        (["run", "--schema", '{"type": "string", "minLength": 3, "maxLength": 1}', "x"], "", 2, ""),
        (["run", "--schema", "{", "x"], "", 2, "not valid JSON"),
        (["run", "-o", "regex", "(", "x"], "", 2, ""),
        (["run", "--timeout", "0.05", LONG], "", 4, "was ended after 0.05 s"),
        (["kill", "999"], "", 2, "999"),
        (["nosuch"], "", 2, "unknown command"),
    ],
    ids=lambda value: " ".join(value)[:40] if isinstance(value, list) else "",
)
def test_bad_input_is_one_line_with_a_hint(
    lingos: Lingos, words: list[str], stdin: str | bytes, code: int, message: str
) -> None:
    """The exit code of the design, no traceback, and the kernel goes on."""
    done = lingos(*words, stdin=stdin)
    assert done.returncode == code, done.stderr
    assert done.stdout == "" or code == 4
    error, hint = done.stderr.splitlines()
    assert error.startswith("lingos: error: ")
    assert message in error + hint
    assert hint.startswith("hint: ")
    assert lingos("kernel", "status").returncode == 0


def test_ctrl_c_ends_the_call_in_the_kernel(environ: dict[str, str], lingos: Lingos) -> None:
    """Exit code 130, nothing ugly, and nothing runs on."""
    process = start_long_run(environ)
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=60)
    assert (process.returncode, stderr.strip()) == (130, "")
    wait_until_idle(lingos)


def test_a_closed_pipe_ends_the_call_quietly(environ: dict[str, str], lingos: Lingos) -> None:
    """`lingos run ... | head -c 1`."""
    process = start_long_run(environ)
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.close()
    assert process.wait(timeout=60) == 0
    assert process.stderr.read() == ""
    process.stderr.close()
    wait_until_idle(lingos)


def test_a_process_is_paused_resumed_and_ended(environ: dict[str, str], lingos: Lingos) -> None:
    """kill -STOP holds it at a token, -CONT lets it go on, -TERM ends its call."""
    process = start_long_run(environ, "--nice", "5")
    (row,) = running(lingos)
    assert (row["command"], row["priority"]) == (f"run {LONG}", 5)
    pid = str(row["pid"])
    assert lingos("nice", pid, "-3").returncode == 0
    assert lingos("kill", "-STOP", pid).returncode == 0
    stopped = next(r for r in json.loads(lingos("ps", "--json").stdout) if str(r["pid"]) == pid)
    assert (stopped["state"], stopped["priority"]) == ("stopped", -3)
    assert lingos("kill", "-CONT", pid).returncode == 0
    assert process.stdout is not None
    assert process.stdout.read(1)
    assert lingos("kill", "-TERM", pid).returncode == 0
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 130
    assert stderr.startswith("lingos: error: ")


def test_top_shows_the_real_machine(lingos: Lingos) -> None:
    """One snapshot, with the model in memory and where the bytes went."""
    assert lingos("run", "--max-tokens", "2", "Say hello.").returncode == 0
    snapshot = json.loads(lingos("top", "--once", "--json").stdout)
    (model,) = [m for m in snapshot["models"] if m["name"] == "smollm2-135m-instruct"]
    assert model["weight_bytes"] > 100_000_000
    (device,) = snapshot["devices"]
    assert device["weights_bytes"] >= model["weight_bytes"]
    assert device["kv_total_bytes"] > 0
    assert snapshot["rates"]["output_tokens_total"] > 0
    assert "M = " in lingos("top", "--once").stdout


def test_top_leaves_at_q(lingos: Lingos, terminal: Callable[..., Any]) -> None:
    """It shows the scheduler until a key is pressed, and gives the terminal back."""
    lingos("kernel", "start")
    child = terminal("top")
    child.expect("policy.{1,40}priority")  # each in its own style
    child.send("q")
    child.expect_exact("\x1b[?1049l")  # back from the screen of its own
    child.expect(pexpect.EOF)
    child.wait()
    assert child.exitstatus == 0


def test_completion_asks_the_running_kernel(environ: dict[str, str]) -> None:
    """As bash does it: names of syscalls and models."""
    for words, name in (("lingos call text.su", "text.summarize"), ("lingos show smol", "smollm2")):
        variables = {
            "_LINGOS_COMPLETE": "bash_complete",
            "COMP_WORDS": words,
            "COMP_CWORD": "2",
        }
        done = subprocess.run(
            LINGOS, env=environ | variables, capture_output=True, text=True, check=False
        )
        assert name in done.stdout, done.stderr


def test_many_commands_at_once(lingos: Lingos) -> None:
    """Terminals do not wait for each other's ends."""
    answers: list[str] = []

    def ask(number: int) -> None:
        answers.append(lingos("run", "--max-tokens", "8", f"Count from {number}.").stdout)

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len([answer for answer in answers if answer.strip()]) == 4


def test_doctor_finds_all_well(lingos: Lingos) -> None:
    """With a model that is whole and a kernel that answers."""
    done = lingos("doctor", "--json")
    checks = {check["name"]: check for check in json.loads(done.stdout)["checks"]}
    assert checks["model"]["status"] == "ok"
    assert checks["kernel"]["status"] == "ok"
    assert checks["plugins"]["status"] == "ok"


def test_a_local_kernel_needs_no_other(lingos: Lingos) -> None:
    """`--local` embeds one, and leaves none behind."""
    assert lingos("kernel", "stop").returncode == 0
    done = lingos("--local", "run", "--max-tokens", "8", "Say hello.")
    assert (done.returncode, done.stderr.count("error")) == (0, 0)
    assert done.stdout.strip()
    done = lingos("ps")
    assert done.returncode == 3
    assert "lingos kernel start" in done.stderr
