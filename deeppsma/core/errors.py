"""What can go wrong, in one line each: which file, what was found, what to do."""

from __future__ import annotations

from pathlib import Path


class DeepPsmaError(Exception):
    """Base of every error that a user can cause and mend.

    The message is one line. The command line prints it as the last line on
    stderr, which is the line that the Grand Challenge platform shows.
    """

    exit_code = 1


class InputError(DeepPsmaError):
    """The case cannot be segmented as it is."""

    exit_code = 2

    def __init__(self, where: Path | str, found: str, remedy: str) -> None:
        self.where = str(where)
        self.found = found
        self.remedy = remedy
        super().__init__(_one_line(f"{where}: {found}; {remedy}"))

    def __reduce__(self) -> tuple[type[InputError], tuple[str, str, str]]:
        """Travels from worker processes, which pickle what they raise."""
        return type(self), (self.where, self.found, self.remedy)


class OutputError(InputError):
    """The masks could not be written, or did not read back as written."""

    exit_code = 3


class WeightsError(InputError):
    """A network's weights are missing, damaged or of another architecture."""

    exit_code = 4


class ConfigurationError(InputError):
    """A recipe or a network configuration holds a value that makes no sense."""

    exit_code = 5


class DeadlineError(InputError):
    """Time was up, or the computing process ended, before there was any answer."""

    exit_code = 7


class CohortError(InputError):
    """Not every case of a cohort is done."""

    exit_code = 8


def _one_line(text: str) -> str:
    return " ".join(text.split())
