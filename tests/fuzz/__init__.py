# SPDX-License-Identifier: GPL-2.0-only
"""Inputs that nobody would write, made by the thousand from those that people do: `python -m tests.fuzz --help`."""
