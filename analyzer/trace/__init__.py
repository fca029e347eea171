# SPDX-License-Identifier: GPL-2.0-only
"""Where a value comes from: knowledge, files, types, reaching definitions, the backward walk."""
