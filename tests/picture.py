# SPDX-License-Identifier: GPL-2.0-only
"""Draw the README's picture anew: `python -m tests.picture`. The tool makes it, from a driver of ours."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

from dmamigrate import __version__, config, output, request
from dmamigrate.report import terminal, text
from tests.conftest import ROOT

PICTURE = ROOT / "docs/finding.svg"
DRIVER = Path("fixtures/origin/field-in-another-file/before")


def drawn() -> str:
    """The picture as it should be."""
    folder = ROOT / DRIVER
    asked = request.Request((folder,), folder, target="7.3", jobs=1)
    report = request.run(asked, config.Settings(None, {}, ()), __version__, bytes, None).report
    view = replace(output.view(report, None, (True, True, False)), folder=str(folder))
    timeless = replace(report, seconds=0.0)
    return terminal.picture(text.lines(timeless, view), "dmamigrate scan -v --diff --target 7.3")


def main() -> None:
    """Write it."""
    PICTURE.write_text(drawn())
    print(os.path.relpath(PICTURE))


if __name__ == "__main__":
    main()
