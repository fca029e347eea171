# SPDX-License-Identifier: GPL-2.0-only
"""Code that only older kernels compile, in drivers that are built on many."""

from __future__ import annotations

import pytest

from dmamigrate.syntax.arms import only_for_older_kernels
from dmamigrate.syntax.source import Source

NEW = "LINUX_VERSION_CODE >= KERNEL_VERSION(6, 18, 0)"


@pytest.mark.parametrize(
    ("code", "older"),
    [
        pytest.param("@", False, id="no arm at all"),
        pytest.param("#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 18, 0)\n@\n#endif", True, id="before it came"),
        pytest.param("#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 19, 0)\n@\n#endif", False, id="after it came"),
        pytest.param("#if LINUX_VERSION_CODE <= KERNEL_VERSION(5, 4, 0)\n@\n#endif", True, id="long before"),
        pytest.param(f"#if {NEW}\n@\n#endif", False, id="from then on"),
        pytest.param(f"#if {NEW}\n#else\n@\n#endif", True, id="else"),
        pytest.param(f"#if {NEW}\n#elif FX\n@\n#endif", True, id="elif"),
        pytest.param(f"#if {NEW}\n#endif\n@", False, id="behind it"),
        pytest.param(f"#if {NEW}\n#if FX\n#else\n@\n#endif\n#endif", False, id="the else of another one inside"),
        pytest.param("#ifndef DMA_ATTR_MMIO\n@\n#endif", True, id="where the attribute is not defined"),
        pytest.param("#ifdef DMA_ATTR_MMIO\n@\n#endif", False, id="where it is"),
        pytest.param("#if !defined(HAVE_DMA_MAP_PHYS)\n@\n#endif", True, id="where a configuration test failed"),
        pytest.param("#if FX\n@\n#endif", False, id="a condition on something else"),
        pytest.param(f"#if {NEW} && FX\n@\n#endif", True, id="more than one comparison may say so"),
        pytest.param(
            "#if (RHEL_RELEASE_CODE && (RHEL_RELEASE_CODE <= RHEL_RELEASE_VERSION(7, 4)))\n@\n#endif", True,
            id="a distribution's kernel",
        ),
        pytest.param("#if FX || \\\n    (UBUNTU_VERSION_CODE < 4)\n@\n#endif", True,
        id="in the second line of a condition"),
        pytest.param("#if !FX_KERNEL_VERSION_GTE(4, 1)\n@\n#endif", True, id="a macro that compares"),
    ],
)  # fmt: skip
def test_what_only_older_kernels_compile(code: str, older: bool) -> None:
    before, _, after = code.partition("@")
    source = Source("fx.c", f"{before}call();{after}\n".encode())
    assert only_for_older_kernels(source, len(before)) is older
