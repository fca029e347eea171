# SPDX-License-Identifier: GPL-2.0-only
"""What can go wrong that the user can do something about."""


class DmamigrateError(Exception):
    """The job could not be done; the text is one line that says what is wrong and what to do."""


class UsageError(DmamigrateError):
    """An argument names something that does not exist or makes no sense."""


class RuleError(DmamigrateError):
    """A file below rules/, or one given with --sources, is not valid."""


class SourceError(DmamigrateError):
    """A source file cannot be read or is not text."""


class ModelError(DmamigrateError):
    """The model was asked something that it cannot mean, such as a proof over no state at all."""
