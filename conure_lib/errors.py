"""Every error that a user can meet: one line that says where, what was found, what is expected, how to fix it.

``exit_code`` is what the command line returns: 2 for a mistake in what was asked for, 1 for something that
failed although it was asked for correctly.
"""


class ConureError(Exception):
    """Base class of all errors that this library raises on purpose."""

    exit_code = 2


class ConfigError(ConureError, ValueError):
    """A setting that cannot be used. The message names the field, what was found and what is expected."""


class DataError(ConureError, ValueError):
    """Input data that cannot be used. The message names the file, line or field, and how to fix it."""


class TransferError(DataError):
    """A file could not be downloaded: no answer, a refusal, or a transfer that ended early."""


class ModelFileError(ConureError, ValueError):
    """A model file that is missing, damaged, or does not fit its description."""


class PhaseError(ConureError, RuntimeError):
    """A transition of the task phases that is not allowed now, e.g. pruning a task that is not in training."""


class MissingResultError(ConureError, RuntimeError):
    """A result that nobody has computed yet. The message holds the command that computes it."""


class NotebookError(ConureError, ValueError):
    """A notebook or a parameter that does not exist, or a value that it does not take."""


class DamagedResultError(ConureError, ValueError):
    """A stored result whose content does not have the digest that it was stored with."""

    exit_code = 1


class StorageError(ConureError, OSError):
    """Something cannot be written: a full disk, a read-only folder."""

    exit_code = 1


class ClusterError(ConureError, RuntimeError):
    """Workers that cannot be reached, do not fit, or died too often."""

    exit_code = 1


class VerificationError(ConureError, RuntimeError):
    """Something that must hold does not: no mistake of the user's but a defect. Says what differs."""

    exit_code = 1
