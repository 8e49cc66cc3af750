"""`encode_chat_after`: going on behind a text, with the guard of control tokens."""

from __future__ import annotations

from functools import cache

from hypothesis import given, settings
from hypothesis import strategies as st

from lingos_kernel.models.text_codec import TextCodec
from lingos_kernel.testing import byte_codec

codec = cache(byte_codec)
PIECES = st.lists(
    st.sampled_from(["a", "é", "<|im_end|>", "<|im_start|>", "\n", "<|im"]), max_size=5
)
MESSAGES = st.lists(
    st.builds(
        lambda role, pieces: {"role": role, "content": "".join(pieces)},
        st.sampled_from(["user", "assistant", "system", "tool"]),
        PIECES,
    ),
    min_size=1,
    max_size=3,
)


@settings(max_examples=100, deadline=None)
@given(messages=MESSAGES, data=st.data())
def test_the_rest_behind_any_beginning(messages: list[dict[str, str]], data: st.DataObject) -> None:
    """Cut anywhere between two tokens, beginning and rest are the whole encoding."""
    whole = codec().encode_chat(messages)
    cuts = [n for n in range(len(whole) + 1) if "\ufffd" not in text(codec(), whole[:n])]
    at = data.draw(st.sampled_from(cuts))
    found = codec().encode_chat_after(text(codec(), whole[:at]), messages)
    assert found is not None
    ids, rendered = found
    assert whole[:at] + ids == whole
    assert rendered == text(codec(), whole) == codec().render_chat(messages)


def test_another_beginning_is_none() -> None:
    """A text that the conversation does not begin with, or that is longer, gives nothing."""
    messages = [{"role": "user", "content": "hi"}]
    rendered = codec().render_chat(messages)
    assert codec().encode_chat_after("x", messages) is None
    assert codec().encode_chat_after(rendered + "x", messages) is None
    assert codec().encode_chat_after(rendered, messages) == ([], rendered)


def text(codec: TextCodec, ids: list[int]) -> str:
    """The text of tokens, control tokens too."""
    return codec.decode(ids, skip_special=False)
