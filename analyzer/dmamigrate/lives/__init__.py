# SPDX-License-Identifier: GPL-2.0-only
"""The lives of mappings: the calls, which belong together, and what each is given."""
