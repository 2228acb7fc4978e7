"""What a user is told when something is wrong: one line, and an exit status.

Flow: raised anywhere, printed once by the command line.
"""


class BloodkerasError(Exception):
    """Something failed: the message says what was expected, found, and what to do. Exit 1."""

    exit_status = 1


class UsageError(BloodkerasError):
    """The command was called wrongly, and nothing was started. Exit 2."""

    exit_status = 2


class Terminated(KeyboardInterrupt):
    """SIGTERM came: as Ctrl-C, but exit 1."""

    exit_status = 1


def gist(error: Exception) -> str:
    """Return the first line of another library's error, or its name where it says nothing.

    Of one that the operating system made, the reason alone: who tells it names the file.
    """
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return next(iter(str(error).strip().splitlines()), type(error).__name__)


def missing_package(package: str, extra: str) -> BloodkerasError:
    """Return the error for an optional package that is not installed.

    Args:
        package: Its name.
        extra: The extra of this package that installs it with all that it is needed with.
    """
    return BloodkerasError(
        f"this step needs {package}, which is not installed: run "
        f"`pip install 'bloodkeras[{extra}]'`"
    )
