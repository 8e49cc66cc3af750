"""`python -m lingos_kernel.server`: the kernel's own process.

In the foreground it reads the settings as everybody does. `--detach` is for `client.launch`: the
settings come over stdin, and one byte goes to the given descriptor when calls are taken.
"""

from __future__ import annotations

import argparse
import logging
import os
import sys

from lingos_kernel.client.launch import READY, decode_config
from lingos_kernel.errors import Busy, LingOSError
from lingos_kernel.server.daemon import run


def main() -> int:
    """Run a kernel; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m lingos_kernel.server", description=__doc__)
    parser.add_argument("--detach", action="store_true")
    parser.add_argument("--ready-fd", type=int, default=-1, metavar="N")
    options = parser.parse_args()
    try:
        if options.detach:
            _run_detached(options.ready_fd)
        else:
            _run_here()
    except LingOSError as error:
        logging.getLogger(__name__).error("%s", error)
        return error.exit_code
    return 0


def _run_here() -> None:
    from lingos_kernel.config import load_config

    run(load_config())


def _run_detached(ready_fd: int) -> None:
    config = decode_config(sys.stdin.buffer.read())
    if os.fork():
        os._exit(0)  # the launcher's child ends here; the kernel belongs to no terminal
    null = os.open(os.devnull, os.O_RDWR)
    os.dup2(null, 0)
    os.close(null)

    def ready() -> None:
        os.write(ready_fd, READY)
        os.close(ready_fd)

    try:
        run(config, detached=True, ready=ready)
    except Busy:
        ready()  # another kernel has just taken the socket, and listens


if __name__ == "__main__":
    sys.exit(main())
