# SPDX-License-Identifier: GPL-2.0-only
"""Facts that hold along one path of control flow: which flags a word holds, which P2P map type is possible."""
