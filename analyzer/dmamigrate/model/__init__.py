# SPDX-License-Identifier: GPL-2.0-only
"""An executable model of the DMA mapping API, per kernel version, and what is proved with it."""
