# SPDX-License-Identifier: GPL-2.0-only
"""Which folder holds all that is built into one module."""

from __future__ import annotations

from pathlib import Path

import pytest

from dmamigrate.program.tree import Tree


@pytest.mark.parametrize(
    ("files", "module"),
    [
        pytest.param({"a/fx/Makefile": "obj-m += fx.o"}, "a/fx", id="its Makefile builds it"),
        pytest.param({"a/fx/Kbuild": "obj-m += fx.o"}, "a/fx", id="its Kbuild does"),
        pytest.param({"a/Makefile": "obj-m += fx.o\nfx-y := fx/fx.o"}, "a", id="the one above does"),
        pytest.param({"a/Makefile": "include fx/fx.Kbuild", "a/fx/fx.Kbuild": "obj-m += fx.o"}, "a/fx", id="a part of that"),
        pytest.param(
            {"a/Makefile": "all:\n", "a/fx/fx-sources.Kbuild": "FX := fx.c", "a/fx/fx.Kbuild": "obj-m += fx.o"},
            "a/fx",
            id="the second part",
        ),
        pytest.param(
            {"a/Makefile": "all:\n", "a/fx/Makefile": "all:\n", "a/fx/fx.Kbuild": "obj-m += fx.o"}, "", id="a part beside a Makefile"
        ),
        pytest.param({"a/fx/Makefile": "obj-m += fx.o\nfx-y := ../by/by.o"}, "a", id="with what stands beside it"),
        pytest.param({"Makefile": "obj-m += fx.o", "a/Makefile": "all:\n"}, "", id="nothing on the way builds"),
    ],
)  # fmt: skip
def test_a_module_is_a_folder(tmp_path: Path, files: dict[str, str], module: str) -> None:
    for name, text in {"a/fx/fx.c": "", **files}.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    assert Tree(tmp_path).module("a/fx/fx.c") == module
