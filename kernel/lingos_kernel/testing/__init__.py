"""The public test kit: fakes that keep the real contracts, for plugin authors and our own tests.

`ScriptedEngine` answers as told, without torch and without waiting; `byte_codec` is a tokenizer
whose tokens are bytes; `FakeClock` stands still until it is told to advance.
`testing.scripted_kernel` makes a whole kernel of them.
"""

from __future__ import annotations

from lingos_kernel.testing.byte_codec import byte_codec, save_byte_codec
from lingos_kernel.testing.clock import FakeClock
from lingos_kernel.testing.script import Prompt, Reply, Script, echo
from lingos_kernel.testing.scripted_core import ScriptedCore
from lingos_kernel.testing.scripted_engine import ScriptedEngine

__all__ = [
    "FakeClock",
    "Prompt",
    "Reply",
    "Script",
    "ScriptedCore",
    "ScriptedEngine",
    "byte_codec",
    "echo",
    "save_byte_codec",
]
