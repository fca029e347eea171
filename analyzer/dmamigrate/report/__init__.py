# SPDX-License-Identifier: GPL-2.0-only
"""One module for each format, each with one function: render(report) gives the whole text."""
