"""The notebook kernel as front ends see it: messages in, messages out, a real kernel behind it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

pytest.importorskip("ipykernel")
jupyter_kernel_test = pytest.importorskip("jupyter_kernel_test")

from jupyter_client.blocking.client import BlockingKernelClient  # noqa: E402
from jupyter_client.manager import KernelManager  # noqa: E402

from lingos_kernel.models.store import ModelStore, StoredModel  # noqa: E402
from lingos_shell.jupyter.spec import install  # noqa: E402

pytestmark = [pytest.mark.model, pytest.mark.slow, pytest.mark.timeout(300)]

LINGOS = [sys.executable, "-m", "lingos_shell"]
LONG = "? Write a very long story about a dog."
WAIT_S = 60.0


@pytest.fixture(scope="module", autouse=True)
def environ(
    tmp_path_factory: pytest.TempPathFactory, model_store: ModelStore, default_model: StoredModel
) -> Iterator[None]:
    """A fresh home with the kernel's entry and a running kernel, in this process's environment."""
    home = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith("LINGOS_")]:
            patch.delenv(name)
        (home / "ipython").mkdir()
        patch.setenv("LINGOS_HOME", str(home))
        patch.setenv("LINGOS_MODELS_STORE", str(model_store.root))
        patch.setenv("IPYTHONDIR", str(home / "ipython"))
        patch.setenv("JUPYTER_PATH", str(install(prefix=str(home)).parent.parent))
        subprocess.run([*LINGOS, "kernel", "start"], check=True, capture_output=True)
        yield
        subprocess.run([*LINGOS, "kernel", "stop"], check=True, capture_output=True)


class TestProtocol(jupyter_kernel_test.KernelTests):  # type: ignore[misc,name-defined]
    """The conformance suite, as it comes, with every attribute set."""

    kernel_name = "lingos"
    language_name = "python"
    file_extension = ".py"
    code_hello_world = "print('hello, world')"
    code_stderr = "import sys; print('test', file=sys.stderr)"
    completion_samples = (
        {"text": "/text.summar", "matches": {"/text.summarize"}},
        {"text": "x = 1\ny = /text.summar", "matches": {"/text.summarize"}},
        {"text": "zi", "matches": {"zip"}},
    )
    complete_code_samples = ("1", "/ps", "x = /ps", "? How are you?", "def f(x):\n  /ps\n\n\n")
    incomplete_code_samples = ('print("""hello', "def f(x):", "/ask one \\", '/ask """\ntext')
    invalid_code_samples = ("import = 7q",)
    code_page_something = "/ps?"
    code_generate_error = "/nothing-is-called-so"
    code_execute_result = (
        {"code": "6*7", "result": "42"},
        {"code": "x = /print one two\nx", "result": "'one two'"},
    )
    code_display_data = (
        {"code": "/print text", "mime": "text/markdown"},
        {"code": "/syscalls", "mime": "text/html"},
    )
    code_history_pattern = "6?7*"
    supported_history_operations = ("tail", "range", "search")
    code_inspect_sample = "/text.summarize"
    code_clear_output = "from IPython.display import clear_output; clear_output()"


class TestWelcome(jupyter_kernel_test.IopubWelcomeTests):  # type: ignore[misc,name-defined]
    """The welcome message of the output channel."""

    kernel_name = "lingos"
    support_iopub_welcome = True


class Notebook:
    """A front end of one kernel: runs cells and collects what comes."""

    def __init__(self) -> None:
        self.manager = KernelManager(kernel_name="lingos")
        self.manager.start_kernel()
        self.client: BlockingKernelClient = self.manager.client()
        self.client.start_channels()
        self.client.wait_for_ready(WAIT_S)

    def close(self) -> None:
        """End the kernel."""
        self.client.stop_channels()
        self.manager.shutdown_kernel()

    def run(
        self,
        code: str,
        *,
        on_output: Callable[[dict[str, Any]], None] = lambda _: None,
        on_input: Callable[[dict[str, Any]], None] | None = None,
        silent: bool = False,
    ) -> tuple[dict[str, Any], list[dict[str, Any]]]:
        """Run a cell to its end: the reply's content and the messages of output."""
        messages: list[dict[str, Any]] = []

        def take(message: dict[str, Any]) -> None:
            messages.append(message)
            on_output(message)

        reply = self.client.execute_interactive(
            code,
            silent=silent,
            timeout=WAIT_S,
            output_hook=take,
            stdin_hook=on_input,
            allow_stdin=on_input is not None,
        )
        return reply["content"], [m for m in messages if m["msg_type"] not in NOISE]

    def send_control(self, kind: str, content: dict[str, Any], **header: Any) -> dict[str, Any]:
        """Send a message on the control channel; the content of its reply."""
        message = self.client.session.msg(kind, content)
        message["header"].update(header)
        self.client.control_channel.send(message)
        while True:
            reply = self.client.get_control_msg(timeout=WAIT_S)
            if reply["parent_header"].get("msg_id") == message["header"]["msg_id"]:
                return dict(reply["content"])


NOISE = ("status", "execute_input")


@pytest.fixture(scope="module")
def shared_notebook(environ: None) -> Iterator[Notebook]:
    """One kernel for all tests that leave it as it was."""
    notebook = Notebook()
    yield notebook
    notebook.close()


@pytest.fixture
def notebook(shared_notebook: Notebook) -> Notebook:
    """The shared kernel, with the model in memory."""
    return shared_notebook


def markdown(messages: list[dict[str, Any]]) -> str:
    """The Markdown that is on the page at the end."""
    shown: dict[str, str] = {}
    for message in messages:
        if message["msg_type"] in ("display_data", "update_display_data"):
            content = message["content"]
            shown[content["transient"]["display_id"]] = content["data"].get("text/markdown", "")
    return "".join(shown.values())


def test_an_answer_streams_and_its_details_are_kept(notebook: Notebook) -> None:
    """An answer grows under one display id; the last update has the run's details."""
    reply, messages = notebook.run("? What is the capital of France?")
    assert reply["status"] == "ok"
    assert "Paris" in markdown(messages)
    details = messages[-1]["content"]["metadata"]["lingos"]
    assert details["model"] == "smollm2-135m-instruct"
    assert details["usage"]["output_tokens"] > 0
    assert {m["content"]["transient"]["display_id"] for m in messages} == {
        messages[0]["content"]["transient"]["display_id"]
    }


def test_values_go_both_ways(notebook: Notebook) -> None:
    """Python values reach calls by `{expression}` and `$name`; results come back as values."""
    reply, messages = notebook.run("name = 'Ada'\nx = /print {name.upper()} $name\nprint(x)")
    assert reply["status"] == "ok"
    assert messages[0]["content"]["text"] == "ADA Ada\n"


def test_silent_cells_show_nothing_in_history(notebook: Notebook) -> None:
    """A silent cell runs, and its count of executions is not raised."""
    before, _ = notebook.run("1")
    silent, _ = notebook.run("y = /print quiet", silent=True)
    assert silent["status"] == "ok"
    after, messages = notebook.run("print(y)")
    assert after["execution_count"] == before["execution_count"] + 1
    assert messages[0]["content"]["text"] == "quiet\n"


@pytest.mark.parametrize("way", ["message", "signal"])
def test_an_interrupt_stops_the_answer_alone(notebook: Notebook, way: str) -> None:
    """An interrupt ends the answer at once, keeps what was said, frees its pages; all goes on."""
    sent_s: list[float] = []

    def interrupt(message: dict[str, Any]) -> None:
        if message["msg_type"] == "update_display_data" and not sent_s:
            sent_s.append(time.monotonic())
            if way == "message":
                notebook.manager.interrupt_kernel()
            else:
                notebook.manager.signal_kernel(signal.SIGINT)

    reply, messages = notebook.run(f"{LONG}", on_output=interrupt)
    assert sent_s
    assert (reply["status"], reply["ename"]) == ("error", "KeyboardInterrupt")
    assert reply["traceback"] == ["KeyboardInterrupt: stopped"]
    assert "(stopped)" in markdown(messages)
    last = [m for m in messages if m["msg_type"] == "update_display_data"][-1]
    assert last["content"]["metadata"]["lingos"]["interrupted"] is True
    reply, messages = notebook.run(
        "rows = /ps\nprint([r['kv_bytes'] for r in rows if r['calls'] > 1])"
    )
    assert messages[0]["content"]["text"] == "[]\n"


def test_settings_of_a_chat_cell_are_its_own(notebook: Notebook) -> None:
    """`%%chat` takes settings for one message; the session's stay as they were."""
    reply, messages = notebook.run("%%chat --temperature 0 --max-tokens=3 seed=7\nCount to {10}.")
    assert reply["status"] == "ok", messages
    details = messages[-1]["content"]["metadata"]["lingos"]
    assert (details["seed"], details["usage"]["output_tokens"]) == (7, 3)
    reply, messages = notebook.run("left = /set\nprint(left)")
    assert messages[0]["content"]["text"] == "[]\n"


def test_an_answer_can_be_shown_again(notebook: Notebook) -> None:
    """/last shows the last answer under its display id, and is a value."""
    _, said = notebook.run("? Say hello.")
    _, messages = notebook.run("/last")
    assert messages[0]["content"]["transient"] == said[0]["content"]["transient"]
    assert markdown(messages) == markdown(said)
    _, messages = notebook.run("again = /last\nprint(again['model'])")
    assert messages[0]["content"]["text"] == "smollm2-135m-instruct\n"


def test_errors_are_one_line_and_a_hint(notebook: Notebook) -> None:
    """A wrong call shows what is wrong and what helps, once, and no trace."""
    _, messages = notebook.run("/text.sumarize x")
    errors = [m["content"]["traceback"] for m in messages]
    assert errors == [
        [
            "UnknownSyscall: there is no /text.sumarize",
            "hint: did you mean text.summarize or text.similarity or text.rewrite?",
        ]
    ]


def test_lines_are_completed_while_a_cell_runs(notebook: Notebook) -> None:
    """Completion and help of the language answer beside a cell that is in the way of all else."""
    client = notebook.client
    while_busy: list[str] = []

    def ask(_: dict[str, Any]) -> None:
        client.complete("/text.summar")
        while_busy.extend(client.get_shell_msg(timeout=WAIT_S)["content"]["matches"])
        client.input("go on")

    reply, _ = notebook.run("_ = input()", on_input=ask)
    assert reply["status"] == "ok"
    assert while_busy == ["/text.summarize"]


def test_python_in_a_line_is_completed(notebook: Notebook) -> None:
    """Inside braces Python is completed, behind a dollar the cells' variables."""
    notebook.run("greeting = 'hello'")
    client = notebook.client
    for code, match, whole in (
        ("/print {greeting.upp", "upper", "/print {greeting.upper"),
        ("/print $greet", "$greeting", "/print $greeting"),
    ):
        client.complete(code)
        content = client.get_shell_msg(timeout=WAIT_S)["content"]
        assert content["matches"] == [match]
        assert code[: content["cursor_start"]] + match == whole


def test_an_await_can_be_interrupted(notebook: Notebook) -> None:
    """A cell that awaits ends when it is interrupted, which plain ipykernel leaves waiting."""

    def interrupt(message: dict[str, Any]) -> None:
        if message["msg_type"] == "stream":
            notebook.manager.interrupt_kernel()

    reply, _ = notebook.run(
        "import asyncio\nprint('now')\nawait asyncio.sleep(3600)", on_output=interrupt
    )
    assert reply["status"] == "error"
    assert notebook.run("1")[0]["status"] == "ok"


def test_a_call_that_wants_a_yes_asks(notebook: Notebook) -> None:
    """A destructive call asks in the cell; without an answer it is refused."""
    notebook.run("/ctx.create keepsake")
    asked: list[str] = []

    def say_yes(message: dict[str, Any]) -> None:
        asked.append(message["content"]["prompt"])
        notebook.client.input("y")

    reply, _ = notebook.run("/ctx.remove keepsake")
    assert reply["status"] == "error"
    reply, _ = notebook.run("/ctx.remove keepsake", on_input=say_yes)
    assert reply["status"] == "ok"
    assert "ctx.remove" in asked[0]


def test_the_live_view_opens_a_comm(notebook: Notebook) -> None:
    """/top shows a widget with a still picture beside it; a view's messages reach it."""
    opened: list[dict[str, Any]] = []

    def take(message: dict[str, Any]) -> None:
        if message["msg_type"] == "comm_open":
            opened.append(message["content"])

    reply, messages = notebook.run("/top", on_output=take)
    assert reply["status"] == "ok"
    shown = next(m for m in messages if m["msg_type"] == "display_data")["content"]["data"]
    assert "application/vnd.jupyter.widget-view+json" in shown
    assert "lingos-top" in shown["text/html"]
    model = next(c for c in opened if c["data"]["state"].get("markup"))
    assert model["data"]["state"]["_model_module"] == "anywidget"
    before = model["data"]["state"]["markup"]
    message = {
        "comm_id": model["comm_id"],
        "data": {"method": "custom", "content": {"view": "v", "is_open": True}},
    }
    notebook.client.shell_channel.send(notebook.client.session.msg("comm_msg", message))
    seen = wait_for_markup(notebook, model["comm_id"])
    assert "lingos-top" in seen
    assert "facts" in before
    message["data"]["content"] = {"view": "v", "is_open": False}
    notebook.client.shell_channel.send(notebook.client.session.msg("comm_msg", message))
    reply, messages = notebook.run(
        f"print(get_ipython().kernel.views[{model['comm_id']!r}].is_live)"
    )
    prints = [m["content"]["text"] for m in messages if m["msg_type"] == "stream"]
    assert prints == ["False\n"]


def wait_for_markup(notebook: Notebook, comm_id: str) -> str:
    """The next picture that the widget gets."""
    while True:
        message = notebook.client.get_iopub_msg(timeout=WAIT_S)
        content = message["content"]
        if message["msg_type"] == "comm_msg" and content["comm_id"] == comm_id:
            state = content["data"].get("state", {})
            if "markup" in state:
                return str(state["markup"])


def test_an_editor_can_ask_for_versions(notebook: Notebook) -> None:
    """VS Code asks silently which widgets there are, and takes them for old ones without a word."""
    code = "import ipywidgets as _V\nprint('mark:' + _V.__version__)\ndel _V"
    _, messages = notebook.run(code, silent=True)
    assert "".join(m["content"]["text"] for m in messages).startswith("mark:8.")


def test_a_subshell_runs_beside_a_long_answer(notebook: Notebook) -> None:
    """While the main shell answers, a subshell runs; an interrupt that names it stops it alone."""
    client = notebook.client
    made = notebook.send_control("create_subshell_request", {})
    subshell = made["subshell_id"]
    message = client.session.msg(
        "execute_request",
        {"code": LONG, "silent": False, "store_history": True, "allow_stdin": False},
    )
    message["header"]["subshell_id"] = subshell
    client.shell_channel.send(message)
    wait_for_output(notebook, message["header"]["msg_id"])
    reply, _ = notebook.run("6 * 7")
    assert reply["status"] == "ok"
    notebook.send_control("interrupt_request", {}, subshell_id=subshell)
    while (answer := client.get_shell_msg(timeout=WAIT_S))["parent_header"]["msg_id"] != message[
        "header"
    ]["msg_id"]:
        pass
    assert answer["content"]["ename"] == "KeyboardInterrupt"
    notebook.send_control("delete_subshell_request", {"subshell_id": subshell})


def wait_for_output(notebook: Notebook, parent: str) -> None:
    """Wait until a request has shown something."""
    while True:
        message = notebook.client.get_iopub_msg(timeout=WAIT_S)
        if message["parent_header"].get("msg_id") == parent and message["msg_type"] not in NOISE:
            return


def test_the_debugger_answers(notebook: Notebook) -> None:
    """The debugger that the kernel's entry promises is there, and can stop in a cell."""
    pytest.importorskip("debugpy")
    reply = notebook.send_control(
        "debug_request", {"type": "request", "seq": 1, "command": "debugInfo"}
    )
    assert reply["success"]
    assert not reply["body"]["isStarted"]


def test_tables_and_figures_are_context(notebook: Notebook) -> None:
    """An object with `to_csv` reaches a call as CSV, and so would a data frame."""
    reply, messages = notebook.run(
        "class Frame:\n"
        "    def __len__(self): return 1\n"
        "    def to_csv(self): return 'city,people\\nLima,10\\n'\n"
        "said = /print {Frame()}\n"
        "print(said)"
    )
    assert reply["status"] == "ok", messages
    assert "Lima,10" in messages[0]["content"]["text"]


def test_a_session_is_continued_elsewhere(notebook: Notebook) -> None:
    """What is said in a notebook goes on in a terminal's session, and the other way round."""
    notebook.run("/session diary")
    notebook.run("? My name is Ada.")
    listed = subprocess.run(
        [*LINGOS, "call", "ctx.show", "--name", "diary"], check=True, capture_output=True
    )
    assert b"My name is Ada." in listed.stdout


def test_the_resident_kernel_may_restart(notebook: Notebook) -> None:
    """After a restart of the resident kernel the next cell finds the new one, and its session."""
    notebook.run("/session after-restart")
    notebook.run("? Say hello.")
    subprocess.run([*LINGOS, "kernel", "stop"], check=True, capture_output=True)
    reply, messages = notebook.run("? Say it again.")
    assert reply["status"] == "ok", messages
    reply, messages = notebook.run("shown = /ctx.show after-restart\nprint(len(shown['messages']))")
    assert int(messages[0]["content"]["text"]) >= 4


def test_the_notebook_kernel_may_restart(notebook: Notebook) -> None:
    """A restarted notebook kernel begins anew and takes cells."""
    notebook.run("z = 1")
    notebook.manager.restart_kernel()
    notebook.client.wait_for_ready(WAIT_S)
    assert notebook.run("z")[0]["ename"] == "NameError"
    assert notebook.run("/ps")[0]["status"] == "ok"
