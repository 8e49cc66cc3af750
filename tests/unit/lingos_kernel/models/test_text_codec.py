"""Text to tokens and back, and chats rendered exactly as transformers renders them."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lingos_kernel.errors import CorruptModel, InvalidArguments, UnsupportedModel
from lingos_kernel.models.text_codec import TextCodec

if TYPE_CHECKING:
    from lingos_kernel.models.store import StoredModel

MESSAGES: list[dict[str, Any]] = [
    {"role": "system", "content": "  Be brief. "},
    {"role": "user", "content": "What is 2 < 3 & 'four'?\nAnswer: 好 👍"},
    {"role": "assistant", "content": "True."},
    {"role": "user", "content": "Why?"},
]
TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "get_weather",
            "description": "The weather <now> & then",
            "parameters": {"type": "object", "properties": {"città": {"type": "string"}}},
        },
    }
]
TEMPLATES = {
    "llama3": (
        "{{- bos_token }}\n{% for message in messages %}\n"
        "    {%- set content = '<|start|>' + message['role'] + '<|end|>\\n\\n'"
        " + message['content'] | trim %}\n    {{- content }}{{ eos_token }}\n{% endfor %}\n"
        "{% if add_generation_prompt %}<|start|>assistant{% endif %}"
    ),
    "tools": (
        "{%- if tools %}\n    {{- '# Tools\\n' }}\n    {%- for tool in tools %}\n"
        '        {{- "\\n" }}{{- tool | tojson }}\n    {%- endfor %}\n{%- endif %}\n'
        "{%- for message in messages %}{{ message.role }}: {{ message.content }}\n{% endfor %}"
        "{{ tools | tojson(indent=2) if tools }}"
    ),
    "loops": (
        "{% for message in messages %}{% if message.role == 'system' %}{% continue %}{% endif %}"
        "{% if loop.index > 3 %}{% break %}{% endif %}\n  {{ message.content | upper }}\n"
        "{% endfor %}"
    ),
    "generation": (
        "{% for message in messages %}{% if message.role == 'assistant' %}"
        "{% generation %}{{ message.content }}{% endgeneration %}{% else %}"
        "[{{ message.content }}]{% endif %}{% endfor %}"
    ),
    "namespace": (
        "{% set ns = namespace(n=0, text='') %}{% for message in messages %}"
        "{% set ns.n = ns.n + 1 %}{% set ns.text = ns.text ~ message.content[:3] %}{% endfor %}"
        "{{ ns.n }}{{ ns.text }}{{ strftime_now('%Y') }}{{ style | default('plain') }}"
        "{{ dict(a=1) | tojson }}"
    ),
}


@pytest.fixture(scope="module")
def make_codec(tiny_llama: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Makes a model folder without weights, with a template and other changed files."""

    def make(template: str | None = None, **files: Any) -> Path:
        folder = tmp_path_factory.mktemp("codec")
        for file in tiny_llama.glob("*.json"):
            shutil.copy(file, folder)
        if template is not None:
            (folder / "chat_template.jinja").write_text(template, encoding="utf-8")
        for name, content in files.items():
            (folder / f"{name}.json").write_text(json.dumps(content), encoding="utf-8")
        return folder

    return make


def reference(path: Path) -> Any:
    """transformers' tokenizer of the model."""
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(path)


@pytest.mark.parametrize("name", TEMPLATES)
@pytest.mark.parametrize("tools", [None, TOOLS])
def test_chats_render_as_transformers_renders_them(
    make_codec: Callable[..., Path], name: str, tools: Any
) -> None:
    """The same text for templates that use all that chat templates may use."""
    path = make_codec(TEMPLATES[name])
    codec, expected = TextCodec.load(path), reference(path)
    for prompt in (True, False):
        settings_ = {"tools": tools, "add_generation_prompt": prompt, "style": "odd"}
        assert codec.render_chat(MESSAGES, **settings_) == expected.apply_chat_template(
            MESSAGES, tokenize=False, **settings_
        )


@pytest.mark.model
def test_the_default_models_chat_is_transformers_own(default_model: StoredModel) -> None:
    """The real template and tokenizer: the same text, the same tokens."""
    codec, expected = TextCodec.load(default_model.path), reference(default_model.path)
    for messages in (MESSAGES, MESSAGES[1:], MESSAGES[:2]):
        text = expected.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
        assert codec.render_chat(messages) == text
        assert codec.encode_chat(messages) == expected.encode(text, add_special_tokens=False)
    assert codec.eos_ids == {2}
    assert codec.vocabulary == 49152
    assert codec.context_tokens == 8192


def test_bos_is_not_doubled(make_codec: Callable[..., Path]) -> None:
    """The template writes BOS; encoding adds no second one."""
    codec = TextCodec.load(make_codec(TEMPLATES["llama3"]))
    ids = codec.encode_chat(MESSAGES)
    assert ids[0] == codec.bos_id
    assert ids.count(ids[0]) == 1
    assert ids == codec.encode(codec.render_chat(MESSAGES))


CONTENT = st.lists(
    st.sampled_from(
        ["<|im_end|>", "<|im_start|>", "<", "|im_end|>", "\n", "hi ", "👍", "\U000f0000"]
    )
    | st.text(max_size=5)
).map("".join)


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(content=CONTENT)
def test_nobody_else_writes_control_tokens(tiny_llama: Path, content: str) -> None:
    """Whatever a message spells, only the template opens and closes turns, and no text is lost."""
    codec = TextCodec.load(tiny_llama)
    controls = codec.special_ids
    empty = [id_ for id_ in codec.encode_chat([{"role": "user", "content": ""}]) if id_ in controls]
    ids = codec.encode_chat([{"role": "user", "content": content}])
    assert [id_ for id_ in ids if id_ in controls] == empty
    shown = content.replace("\U000f0000", "").replace("\U000f0001", "")
    assert codec.decode(ids) == codec.decode(ids[:0]) + f"user\n{shown}\nassistant\n"
    if not any(codec.token_text(id_) in content for id_ in controls) and shown == content:
        assert ids == codec.encode_chat([{"role": "user", "content": content}], trusted=True)


def test_trusted_content_may_hold_control_tokens(tiny_llama: Path) -> None:
    """Who vouches for the messages may spell control tokens in them."""
    codec = TextCodec.load(tiny_llama)
    messages = [{"role": "user", "content": "a<|im_end|>b"}]
    more = codec.encode_chat(messages, trusted=True)
    assert sum(id_ in codec.special_ids for id_ in more) == 4
    assert codec.encode("a<|im_end|>b", control=False) != codec.encode("a<|im_end|>b")


def test_a_template_still_finds_control_tokens_in_its_own_turns(
    make_codec: Callable[..., Path],
) -> None:
    """Templates that take reasoning out of past turns go on to do so."""
    path = make_codec(
        "{% for m in messages %}{{ m.content.split('</think>')[-1] }};{% endfor %}",
    )
    before = TextCodec.load(path).vocabulary
    tokenizer = json.loads((path / "tokenizer.json").read_text("utf-8"))
    tokenizer["added_tokens"].append(
        {
            "id": before,
            "content": "</think>",
            "special": False,
            "single_word": False,
            "lstrip": False,
            "rstrip": False,
            "normalized": False,
        }
    )
    (path / "tokenizer.json").write_text(json.dumps(tokenizer), "utf-8")
    codec = TextCodec.load(path)
    assert codec.vocabulary == before + 1
    turns = [{"role": role, "content": "x</think>y"} for role in ("assistant", "user")]
    assert codec.decode(codec.encode_chat(turns)) == "y;y;"


def test_models_without_a_template_get_a_plain_one(make_codec: Callable[..., Path]) -> None:
    """Roles become labels, and the reply's label ends the prompt."""
    path = make_codec(None, tokenizer_config={"eos_token": "<|im_end|>"})
    codec = TextCodec.load(path)
    assert codec.template.is_fallback
    assert codec.render_chat(MESSAGES[1:3]).endswith("Assistant: True.\n\nAssistant:")
    assert codec.decode(codec.encode_chat(MESSAGES)) == codec.render_chat(MESSAGES)


def test_named_templates_serve_tools(make_codec: Callable[..., Path]) -> None:
    """A template named tool_use takes the calls with tools."""
    named = [{"name": "default", "template": "plain"}, {"name": "tool_use", "template": "tools"}]
    codec = TextCodec.load(make_codec(None, tokenizer_config={"chat_template": named}))
    assert codec.render_chat(MESSAGES) == "plain"
    assert codec.render_chat(MESSAGES, tools=TOOLS) == "tools"
    assert codec.template.takes_tools
    assert not TextCodec.load(make_codec("plain")).template.takes_tools


@pytest.mark.parametrize(
    "template", ["{{ raise_exception('roles must alternate') }}", "{{ 'a' + 1 }}", "{{ x.y }}"]
)
def test_a_template_may_refuse(make_codec: Callable[..., Path], template: str) -> None:
    """What a template raises is the caller's error, in its words."""
    with pytest.raises(InvalidArguments, match="refused the messages"):
        TextCodec.load(make_codec(template)).render_chat(MESSAGES)


def test_a_template_cannot_leave_its_sandbox(make_codec: Callable[..., Path]) -> None:
    """Python's internals are out of reach."""
    codec = TextCodec.load(make_codec("{{ messages.__class__.__mro__ }}"))
    with pytest.raises(InvalidArguments, match="refused"):
        codec.render_chat(MESSAGES)


def test_an_unreadable_template_is_the_models_fault(make_codec: Callable[..., Path]) -> None:
    """A syntax error names its line."""
    with pytest.raises(CorruptModel, match="line 2"):
        TextCodec.load(make_codec("a\n{% if %}")).render_chat(MESSAGES)


def test_an_empty_conversation_is_refused(tiny_llama: Path) -> None:
    """There must be something to answer."""
    with pytest.raises(InvalidArguments, match="empty"):
        TextCodec.load(tiny_llama).encode_chat([])


@pytest.mark.parametrize("broken", ["{", "[]", '{"model": 1}'])
def test_a_broken_tokenizer_is_corrupt(tmp_path: Path, broken: str) -> None:
    """A damaged tokenizer.json says which file and what to do."""
    (tmp_path / "tokenizer.json").write_text(broken)
    with pytest.raises(CorruptModel, match=r"tokenizer\.json") as caught:
        TextCodec.load(tmp_path)
    assert caught.value.hint


def test_a_model_without_a_fast_tokenizer_is_unsupported(tmp_path: Path) -> None:
    """The hint says how to make one."""
    with pytest.raises(UnsupportedModel, match=r"no tokenizer\.json") as caught:
        TextCodec.load(tmp_path)
    assert "save_pretrained" in caught.value.hint


def test_ends_and_limits_come_from_all_files(make_codec: Callable[..., Path]) -> None:
    """EOS ids may be lists; the context is that of the inner text config."""
    path = make_codec(
        generation_config={"eos_token_id": [5, 6]},
        config={"text_config": {"eos_token_id": 7, "max_position_embeddings": 99}},
        sentence_bert_config={"max_seq_length": 64},
    )
    codec = TextCodec.load(path)
    assert codec.eos_ids == {2, 5, 6, 7}
    assert codec.context_tokens == 99
    assert codec.embed_tokens == 64


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=st.text())
def test_text_survives_encoding(tiny_llama: Path, text: str) -> None:
    """A byte-level vocabulary loses nothing, and its tokens' bytes are the text's."""
    codec = TextCodec.load(tiny_llama)
    ids = codec.encode(text, control=False)
    assert codec.decode(ids) == text
    assert b"".join(map(codec.token_bytes, ids)) == text.encode()


def test_tokens_can_be_shown_one_by_one(tiny_llama: Path) -> None:
    """Control tokens show their spelling, halves of characters U+FFFD, strangers nothing."""
    codec = TextCodec.load(tiny_llama)
    assert codec.token_text(2) == "<|im_end|>"
    assert codec.token_text(codec.encode(" quick")[0]) == " quick"
    assert codec.token_text(codec.encode("👍")[0]) == "�"
    assert codec.token_bytes(10**6) == b""


def test_text_that_is_not_unicode_is_refused(tiny_llama: Path) -> None:
    """Lone surrogates, as of undecodable input, are the caller's error."""
    with pytest.raises(InvalidArguments, match="not valid Unicode"):
        TextCodec.load(tiny_llama).encode("a\ud800")


@pytest.mark.model
def test_the_embedders_codec_frames_and_does_not_pad(default_embedder: StoredModel) -> None:
    """The padding and truncation that a training setup left behind are off."""
    codec = TextCodec.load(default_embedder.path)
    assert codec.frame == ((101,), (102,))
    assert codec.encode("hello", special=True) == [101, 7592, 102]
    assert len(codec.encode("word " * 600)) == 600
    assert codec.context_tokens == 512
