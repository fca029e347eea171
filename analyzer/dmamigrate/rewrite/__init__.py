# SPDX-License-Identifier: GPL-2.0-only
"""Edits of a life, in the style of the code around it."""
