"""One family of errors. Each names the offending value, the valid ones and the remedy."""

from __future__ import annotations

from collections.abc import Iterable

INTERRUPTED = 130  # exit code, as a shell says of what Ctrl-C ended


class PldError(Exception):
    """An error whose message is meant for the operator; the command line prints it alone."""


class ConfigError(PldError):
    """A configuration value, name or file is not usable."""

    @classmethod
    def unknown(cls, what: str, given: object, valid: Iterable[object]) -> ConfigError:
        """Say that `given` is no valid `what`, and list what is."""
        listing = ", ".join(str(v) for v in valid)
        return cls(f"unknown {what} {str(given)!r}; valid: {listing}")


class MissingPackageError(PldError):
    """A vendor package or system library is not installed; the message holds the install line."""


class RobotError(PldError):
    """The arm refused, stopped or did not answer."""


class CameraError(PldError):
    """A camera is absent, silent or delivers unusable frames."""


class TeleopError(PldError):
    """A teleoperation device is absent, was lost, or says what nobody understands."""


class RecordingError(PldError):
    """A bag could not be opened, written or read; what was written is kept."""


class ContractError(PldError):
    """Data does not have the shape, units or rate that the contract states."""
