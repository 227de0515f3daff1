"""``python -m deeppsma``, and the command ``deeppsma``."""

from typing import NoReturn

from deeppsma.cli.exit_status import guarded, leave


def program() -> NoReturn:
    """Entry point.

    The command line is imported under guard: a signal in these tenths of a
    second ends in one line, too.

    Raises
    ------
    SystemExit
        With a status of the table in ``docs/input.md``.
    """
    status: list[int] = []

    def work() -> None:
        from deeppsma.cli.commands import main

        status.append(main())

    leave(guarded(work) or status[0])


if __name__ == "__main__":
    program()
