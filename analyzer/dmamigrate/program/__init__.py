# SPDX-License-Identifier: GPL-2.0-only
"""What the source says, asked once: files, scopes, names, types, stores, callers, reaching definitions."""
