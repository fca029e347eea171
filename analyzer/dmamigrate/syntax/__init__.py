# SPDX-License-Identifier: GPL-2.0-only
"""From bytes to functions: reading, the kernel's C dialect, expressions and control flow."""
