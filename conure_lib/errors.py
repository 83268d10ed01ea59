"""Every error that a user can meet: one line that says where, what was found and what is expected.

``exit_code`` is what the command line returns: 2 for a mistake in what was asked for, 1 for
something that failed although it was asked for correctly.
"""


class ConureError(Exception):
    """Base class of all errors that this library raises on purpose; by default a mistake."""

    exit_code = 2


class FailureError(ConureError):
    """Something that failed although it was asked for correctly."""

    exit_code = 1


class ConfigError(ConureError, ValueError):
    """A setting, a notebook or a parameter that does not exist or cannot be used."""


class DataError(ConureError, ValueError):
    """Input data that cannot be used."""


class TransferError(FailureError, DataError):
    """A file that could not be downloaded: no answer, a refusal, a transfer that ended early."""


class ModelFileError(ConureError, ValueError):
    """A model file that is missing, damaged, or does not fit its description."""


class PhaseError(ConureError, RuntimeError):
    """A transition of the task phases that is not allowed now, e.g. pruning without training."""


class MissingResultError(ConureError, RuntimeError):
    """A result that nobody has computed yet. The message says how to."""


class DamagedResultError(FailureError, ValueError):
    """A stored result whose content is not what was written."""


class StorageError(FailureError, OSError):
    """Something cannot be written: a full disk, a read-only folder."""


class ClusterError(FailureError, RuntimeError):
    """Workers that cannot be reached, do not fit, or died too often."""


class VerificationError(FailureError, RuntimeError):
    """Something that must hold does not: a defect, not a mistake of the user's."""
