# SPDX-License-Identifier: GPL-2.0-only
"""Real trees for the tests of this folder; where one cannot be had the test is skipped, and says why."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.kernel.trees import NoTreeError, tree


@pytest.fixture(scope="session")
def kernel() -> Callable[[str], Path]:
    def get(version: str) -> Path:
        try:
            return tree(version)
        except NoTreeError as error:
            pytest.skip(f"NO KERNEL TREE: linux-source-{version}: {error}")

    return get
