# SPDX-License-Identifier: GPL-2.0-only
"""What is wrong with a life: one detector a file, each with the rules that it may yield."""
