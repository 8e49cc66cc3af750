"""`python -m lingos_shell` is `lingos`."""

from __future__ import annotations

import sys

from lingos_shell.main import main

sys.exit(main())
