"""Runs a table of commands from the command line: fire, with its edges taken off.

Flow: takes {name: function}; gives an exit status: 0 done, 1 failed, 2 wrong usage, 130 Ctrl-C.
"""

import errno
import logging
import os
import re
import sys
import textwrap
from contextlib import suppress
from typing import NoReturn

import fire

import bloodkeras
from bloodkeras.cli.options import (
    Command,
    catching,
    described,
    parameters,
    refuse_unclear,
    settings_table,
)
from bloodkeras.errors import BloodkerasError, UsageError, missing_package
from bloodkeras.progress import show
from bloodkeras.recipe import hint

LOG = logging.getLogger(__name__)
# Others need train.
EXTRAS = {name: name for name in ("calibrate", "demo", "find", "label", "serve", "tune")}
EXTRAS["count"] = "find"
QUIET, VERBOSE = {"-q", "--quiet"}, {"-v", "--verbose"}
EVERYWHERE = """EVERYWHERE
    -q, --quiet: only warnings, no progress
    -v, --verbose: versions, and where in the program an error comes from, too"""
LINE_LENGTH = 100  # characters


def run(commands: dict[str, Command]) -> None:
    """Run what the command line names and exit with its status.

    Args:
        commands: Name to function.
    """
    print_anything()
    given = set(sys.argv[1:])
    loud = logging.DEBUG if given & VERBOSE else logging.INFO
    show(logging.WARNING if given & QUIET else loud)
    words = [word for word in sys.argv[1:] if word not in QUIET | VERBOSE]
    name = words[0].replace("_", "-") if words else ""
    try:
        if words == ["--version"]:
            print(f"bloodkeras {bloodkeras.__version__}")
        elif not words or {"-h", "--help"} & set(words):
            show_help(commands, name)
        else:
            _run(commands, name, words[1:])
        sys.stdout.flush()  # what cannot be written is to be said here
    except BloodkerasError as error:
        LOG.debug("it comes from here:", exc_info=error)
        print(f"bloodkeras: {error}", file=sys.stderr)
        sys.exit(error.exit_status)
    except ModuleNotFoundError as error:
        package = (error.name or "bloodkeras").split(".")[0]
        if package == "bloodkeras":
            raise
        line = missing_package(package, EXTRAS.get(name, "train"))
        print(f"bloodkeras: {line}", file=sys.stderr)
        sys.exit(line.exit_status)
    except OSError as error:
        if error.filename or error.errno not in (errno.EPIPE, errno.ENOSPC):
            raise
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # Python would complain again at the end
        if error.errno != errno.EPIPE:  # `| head` has seen enough, and knows
            print(f"bloodkeras: {error.strerror}", file=sys.stderr)
        sys.exit(1)
    except KeyboardInterrupt as stop:
        end_stopped(stop)
    except ImportError as error:
        if not (behind := _stop_behind(error)):
            raise
        end_stopped(behind)


def show_help(commands: dict[str, Command], name: str) -> None:
    """Show fire's help of a command, or of all; and what fire does not know of."""
    fire.core.Display = lambda lines, out: print(_page("\n".join(lines)))  # in no pager
    shown = {each: described(command) for each, command in commands.items()}
    with suppress(fire.core.FireExit):
        asked = [name] if name in commands else []
        fire.Fire(shown, [*asked, "--", "--help"], name="bloodkeras")
    if name in commands and "settings" in parameters(commands[name]):
        print(f"\n{settings_table(commands[name])}")
    print(f"\n{EVERYWHERE}")


def _page(text: str) -> str:
    """Return fire's page with options as they are typed, and lines that fit."""
    dashed = re.sub(r"--[a-z_]+", lambda match: match[0].replace("_", "-"), text)
    dashed = re.sub(r"-[qv], (?=--)", "", dashed)  # they are for all commands
    lines = []
    for line in dashed.splitlines():
        indent = line[: len(line) - len(line.lstrip())]
        lines += textwrap.wrap(
            line, LINE_LENGTH, subsequent_indent=indent, break_on_hyphens=False
        ) or [""]
    return "\n".join(lines)


def _run(commands: dict[str, Command], name: str, words: list[str]) -> None:
    """Let fire sort the words, and call the command.

    Raises:
        UsageError: There is no such command, or the words are none that it takes.
    """
    if name not in commands:
        raise UsageError(f"unknown command {name!r}: {hint(name, commands)}")
    refuse_unclear(commands[name], words)
    LOG.debug(f"bloodkeras {bloodkeras.__version__}, Python {sys.version}, {sys.platform}: {name}")
    # fire would read --out 1e3 as a number and 'false' as a text, which is true.
    called = fire.decorators.SetParseFn(str)(catching(name, commands[name]))
    # It would take - for its own separator.
    separated = words if "--" in words else [*words, "--", "--separator=\0"]
    fire.Fire({name: called}, [name, *separated], name="bloodkeras", serialize=lambda _: None)


def end_stopped(stop: KeyboardInterrupt) -> NoReturn:
    """Say that Ctrl-C or SIGTERM came, and exit."""
    print(f"bloodkeras: {str(stop) or 'stopped by Ctrl-C'}", file=sys.stderr)
    sys.exit(getattr(stop, "exit_status", 130))


def _stop_behind(error: BaseException) -> KeyboardInterrupt | None:
    """Return the stop that came while a package in C was loading, which raised its own error."""
    behind = error.__cause__ or error.__context__
    if behind is None or isinstance(behind, KeyboardInterrupt):
        return behind
    return _stop_behind(behind)


def print_anything() -> None:
    """Let standard output and error show a letter that their encoding lacks as an escape.

    A console's code page, or a locale of plain ASCII, would end a table at the first such name.
    """
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # None without a console, or somebody's own
            stream.reconfigure(errors="backslashreplace")
