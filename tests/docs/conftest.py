"""A home of its own with the real model, for examples that are run."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from lingos_kernel.models.store import ModelStore, StoredModel


@pytest.fixture(scope="module")
def environment(
    tmp_path_factory: pytest.TempPathFactory,
    model_store: ModelStore,
    default_model: StoredModel,
) -> Iterator[dict[str, str]]:
    """The environment of a user with a fresh home and a store that has the default model.

    The kernel that the examples start is stopped at the end.
    """
    environ = {key: value for key, value in os.environ.items() if not key.startswith("LINGOS_")}
    environ |= {
        "LINGOS_HOME": str(tmp_path_factory.mktemp("home")),
        "LINGOS_MODELS_STORE": str(model_store.root),
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{environ['PATH']}",
        "COLUMNS": "120",
    }
    yield environ
    subprocess.run(["lingos", "kernel", "stop"], env=environ, check=True, capture_output=True)
