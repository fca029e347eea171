# SPDX-License-Identifier: GPL-2.0-only
"""What a value is: how values flow, and the domains that say what they are worth."""
