# SPDX-License-Identifier: GPL-2.0-only
"""`python -m analyzer` is `dmamigrate`."""

from analyzer.cli import main

main()
