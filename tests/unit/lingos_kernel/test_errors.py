"""The error tree: what travels over the wire comes back the same."""

from __future__ import annotations

import pickle

import pytest

from lingos_kernel import errors
from lingos_kernel.errors import LingOSError, QueueFull, SyscallFailed, from_wire, to_wire


def tree(root: type[LingOSError]) -> list[type[LingOSError]]:
    """A class and all below it."""
    return [root, *(below for child in root.__subclasses__() for below in tree(child))]


KERNEL_ERRORS = [kind for kind in tree(LingOSError) if kind.__module__ == errors.__name__]


@pytest.mark.parametrize("kind", KERNEL_ERRORS, ids=lambda kind: kind.__name__)
def test_round_trip(kind: type[LingOSError]) -> None:
    """Class, message, hint and details survive the wire and pickling."""
    given = {"retry_after_s": 2.5} if kind is QueueFull else {}
    error = kind("it broke", hint="mend it", pid=7, **given)
    for back in (from_wire(to_wire(error)), pickle.loads(pickle.dumps(error))):
        assert type(back) is kind
        assert str(back) == "it broke (mend it)"
        assert back.details == error.details


def test_codes_are_unique() -> None:
    """No two classes share a code, since the code finds the class again."""
    codes = [kind.code for kind in KERNEL_ERRORS]
    assert len(codes) == len(set(codes))


def test_the_docstring_draws_every_class() -> None:
    """The tree atop the file names each class of it."""
    assert errors.__doc__ is not None
    assert all(kind.__name__ in errors.__doc__ for kind in KERNEL_ERRORS)


def test_foreign_errors_and_unknown_codes() -> None:
    """Another error becomes SyscallFailed; a code nobody knows, the base class."""
    assert type(from_wire(to_wire(ValueError("no")))) is SyscallFailed
    assert type(from_wire({"code": "from_the_future", "message": "m"})) is LingOSError
    assert str(from_wire({})) == "unknown error"


def test_queue_full_says_when() -> None:
    """The time to wait is in the hint and as a number."""
    error = QueueFull("full", retry_after_s=1.25)
    assert error.retry_after_s == 1.25
    assert "1.2 s" in str(error)
