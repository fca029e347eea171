# SPDX-License-Identifier: GPL-2.0-only
"""Findings as patches: whose driver it is, what the mail says, how files are written, and whether they still build."""
