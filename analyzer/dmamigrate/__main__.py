# SPDX-License-Identifier: GPL-2.0-only
"""`python -m dmamigrate` is `dmamigrate`."""

from dmamigrate.cli import main

main()
