"""Errors that a user can cause, and only those: each says what is wrong, where, and what to do.

The command line prints them in one line and exits with 2; operators show them in the form.
"""


class SpamPluginError(Exception):
    """Base of every error that a user can cause."""


class InputError(SpamPluginError, ValueError):
    """Data or options that cannot be used; the message names file, line, sample, field or frame, and the mend."""


class MissingError(SpamPluginError, LookupError):
    """A dataset, field, file or weights that were named but are not there."""
