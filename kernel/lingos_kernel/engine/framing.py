"""Messages as frames on a byte stream: a 4-byte little-endian length, then MessagePack."""

from __future__ import annotations

from lingos_kernel.engine.messages import Message, encode
from lingos_kernel.errors import EngineError

HEADER_BYTES = 4
MAX_FRAME_BYTES = 1 << 30


def frame(message: Message) -> bytes:
    """The message as bytes to write."""
    payload = encode(message)
    return len(payload).to_bytes(HEADER_BYTES, "little") + payload


class FrameDecoder:
    """Cuts a byte stream that arrives in pieces into the payloads of its frames."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> list[bytes]:
        """The payloads that `data` completes, in order; an unfinished one waits for more.

        Raises `EngineError` when a length is impossible, that is, when the stream is not frames.
        """
        self._buffer += data
        payloads = []
        start = 0
        while len(self._buffer) - start >= HEADER_BYTES:
            size = int.from_bytes(self._buffer[start : start + HEADER_BYTES], "little")
            if size > MAX_FRAME_BYTES:
                raise EngineError(f"a frame of {size} bytes cannot be; the stream is broken")
            end = start + HEADER_BYTES + size
            if len(self._buffer) < end:
                break
            payloads.append(bytes(self._buffer[start + HEADER_BYTES : end]))
            start = end
        del self._buffer[:start]
        return payloads
