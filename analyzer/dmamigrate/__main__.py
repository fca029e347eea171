# SPDX-License-Identifier: GPL-2.0-only
"""The program: signals are handled before anything else is imported."""

from __future__ import annotations

import contextlib
import os
import sys
from typing import NoReturn

from dmamigrate.processes import Interrupted, raise_on_signals


def main() -> NoReturn:
    """Run the command line; a signal that ends it is one line on standard error, and exit status 128 and its number."""
    try:
        raise_on_signals()
        from dmamigrate import cli

        cli.main()
    except Interrupted as interrupted:
        sys.stderr.write("dmamigrate: interrupted\n")
        with contextlib.suppress(OSError):
            sys.stdout.flush()
        sys.stderr.flush()
        # all that was begun has been undone; what a pool of processes does at exit may write to pipes that are gone
        os._exit(128 + interrupted.number)


if __name__ == "__main__":
    main()
