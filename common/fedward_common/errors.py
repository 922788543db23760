"""The one tree of errors.

A class exists only if some caller acts on it. `code` is what may leave a hospital; the message
and the hint stay where they were raised. `exit_code` is what a command ends with: 1 the work
failed, 2 wrong usage or configuration.
"""


class FedwardError(Exception):
    """Something that has a name, a message for a person, and a hint on what to do next."""

    code = "FAILED"
    exit_code = 1

    def __init__(self, message: str, *, hint: str = "", code: str | None = None) -> None:
        super().__init__(message)
        self.hint = hint
        if code is not None:
            self.code = code


class ConfigurationError(FedwardError):
    """A file or an option that a person wrote cannot be used as it is."""

    code = "CONFIGURATION"
    exit_code = 2


class MalformedMessageError(FedwardError):
    """Bytes from a peer are not the one canonical encoding of a known message."""

    code = "MALFORMED_MESSAGE"


class UnverifiedMessageError(FedwardError):
    """A message is not signed by who it should be, or belongs to another run, round or manifest."""

    code = "UNVERIFIED_MESSAGE"


class WeightsMismatchError(FedwardError):
    """Weights do not fit the parameter spec: another architecture, shape, dtype, or not finite."""

    code = "WEIGHTS_MISMATCH"


class UnusableUpdateError(FedwardError):
    """An update holds NaN or infinity, so nothing may be made of it."""

    code = "NON_FINITE"


class CohortError(FedwardError):
    """A site's data cannot be used; `code` says why and is all that leaves the site."""

    code = "COHORT_UNUSABLE"


class TrainingError(FedwardError):
    """Local training could not be carried out at this site."""

    code = "TRAINING_FAILED"


class PrivacyError(FedwardError):
    """The privacy asked for cannot be given: a budget, a parameter, or a layer forbids it."""

    code = "PRIVACY_REFUSED"


class LedgerDamagedError(PrivacyError):
    """The privacy ledger is missing, edited, cut short or rolled back: nothing trains on it."""

    code = "LEDGER_DAMAGED"


class QuorumError(FedwardError):
    """Too few sites contributed to a round."""

    code = "QUORUM_NOT_REACHED"


class CorruptFileError(FedwardError):
    """A file that Fedward wrote no longer has the content that was written."""

    code = "CORRUPT_FILE"


class AggregationRefusedError(FedwardError):
    """A step of secure aggregation breaks a rule; `code` is the name of the rule."""

    code = "SECAGG_REFUSED"


class LockedError(FedwardError):
    """Another process works on the same folder."""

    code = "LOCKED"


class StoppedError(FedwardError):
    """A person stopped the work."""

    code = "STOPPED"
    exit_code = 130


class DiskFullError(FedwardError):
    """No space is left; what was committed before is intact."""

    code = "DISK_FULL"
