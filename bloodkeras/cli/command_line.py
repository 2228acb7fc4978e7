"""Runs a table of commands from the command line: fire, with its edges taken off.

Flow: takes {name: function}; gives an exit status: 0 done, 1 failed, 2 wrong usage, 130 Ctrl-C.
Texts are converted by the functions' type hints, and a wrong word is told what was expected before
anything starts.
"""

import errno
import functools
import inspect
import itertools
import os
import sys
import tempfile
import typing
from collections.abc import Callable
from typing import Any, NoReturn

import fire

import bloodkeras
from bloodkeras.errors import BloodkerasError, UsageError, missing_package
from bloodkeras.recipe import convert, hint

EXTRAS = {name: name for name in ("calibrate", "demo", "serve", "tune")}  # others need train
MANY = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)  # *words and **fields


def run(commands: dict[str, Callable[..., Any]]) -> None:
    """Run what the command line names and exit with its status.

    Args:
        commands: Name to function.
    """
    print_anything()
    fire.core.Display = lambda lines, out: print("\n".join(lines), file=out)  # not in a pager
    # fire would read --out 1e3 as a number and 'false' as a text, which is true. Its decorator for
    # this, SetParseFn, shows up as a command group in every help page.
    fire.parser.DefaultParseValue = str
    words = sys.argv[1:]
    if words == ["--version"]:
        print(f"bloodkeras {bloodkeras.__version__}")
        return
    if not words or {"-h", "--help"} & set(words):  # an option --help would be a recipe field
        sys.argv[1:] = [*[word for word in words[:1] if word in commands], "--", "--help"]
    noted = {name: _deferred(command) for name, command in commands.items()}
    try:
        words = sys.argv[1:]
        if "--help" not in words:
            words = _checked(words, commands)
        result = fire.Fire(noted, _keep_dash(words), name="bloodkeras", serialize=lambda _: None)
        if isinstance(result, _Deferred):
            result._call()
            sys.stdout.flush()  # what cannot be written is to be said here
    except BloodkerasError as error:
        print(f"bloodkeras: {error}", file=sys.stderr)
        sys.exit(error.exit_status)
    except ModuleNotFoundError as error:
        if str(error.name).split(".")[0] == "bloodkeras":
            raise
        line = missing_package(str(error.name), EXTRAS.get(words[0], "train"))
        print(f"bloodkeras: {line}", file=sys.stderr)
        sys.exit(line.exit_status)
    except OSError as error:
        if error.filename or error.errno not in (errno.EPIPE, errno.ENOSPC):
            raise
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # Python would complain again at the end
        closed = error.errno == errno.EPIPE  # `| head` has seen enough
        said = "whoever read the output has stopped reading" if closed else error.strerror
        print(f"bloodkeras: {said}", file=sys.stderr)
        sys.exit(1)
    except KeyboardInterrupt as stop:
        _end_stopped(stop)
    except ImportError as error:
        if not (behind := _stop_behind(error)):
            raise
        _end_stopped(behind)


def _end_stopped(stop: KeyboardInterrupt) -> NoReturn:
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


def quiet_tensorflow() -> None:
    """Import TensorFlow without its start-up notes, which no setting turns off.

    They are written to the process' stderr before its logging is set up. If the import fails,
    they are shown after all.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    stderr = os.dup(2)
    with tempfile.TemporaryFile() as notes:
        os.dup2(notes.fileno(), 2)
        try:
            import tensorflow  # noqa: F401
        except ImportError as error:
            if error.name != "tensorflow":
                notes.seek(0)
                os.write(stderr, notes.read())
            raise missing_package("TensorFlow", "train") from None
        finally:
            os.dup2(stderr, 2)
            os.close(stderr)


class _Deferred:
    """A command whose words have been understood, to be run once fire has consumed them all.

    fire calls a function first and complains of a mistyped option afterwards (python-fire#168);
    so what it calls only notes the call down.
    """

    def __init__(self, call: Callable[[], Any]) -> None:
        self._call = call


def _deferred(command: Callable[..., Any]) -> Callable[..., Any]:
    """Wrap a command: texts are converted by its type hints, the call is noted, not made."""
    hints = typing.get_type_hints(command)
    variadic = {p.kind: name for name, p in inspect.signature(command).parameters.items()}
    rest = variadic.get(inspect.Parameter.VAR_KEYWORD)

    @functools.wraps(command)
    def noted(*args: str, **options: str) -> Any:
        typed = {
            name: convert(value, hints[name], name) if name in hints and name != rest else value
            for name, value in options.items()
        }
        return _Deferred(functools.partial(command, *args, **typed))

    return noted


def _keep_dash(words: list[str]) -> list[str]:
    """Return the words so that - is one of them: fire would take it for its own separator."""
    return [*words, "--", "--separator=\0"] if "-" in words and "--" not in words else words


def _checked(words: list[str], commands: dict[str, Callable[..., Any]]) -> list[str]:
    """Return the words with every option spelt out, or refuse a mistyped command or option.

    fire refuses it too, but does not say what was meant.

    Raises:
        UsageError: There is no such command or option, one is given twice or without a value, or
            what is needed is missing.
    """
    name = words[0].replace("_", "-")
    if name not in commands:
        raise UsageError(f"unknown command {words[0]!r}: expected {hint(name, commands)}")
    options = list(inspect.signature(commands[name]).parameters.values())
    known = {option.name for option in options if option.kind not in MANY}
    given = [_spelt_out(word, known) for word in words[1:]]
    kinds = typing.get_type_hints(commands[name])
    _check_values(given, kinds)
    named = [word[2:].split("=")[0].replace("-", "_") for word in given if word[:2] == "--"]
    fields = any(option.kind is option.VAR_KEYWORD for option in options)  # recipe.py knows them
    switched_off = {f"no{option}" for option in known if kinds.get(option) is bool}
    for place, option in enumerate(named):
        negated = option.removeprefix("no") in known  # fire would set it to the text False
        if option not in known | switched_off and (negated or not fields):
            raise UsageError(f"unknown option --{option}: expected {hint(option, known)}")
        if option in named[:place]:
            raise UsageError(f"--{_hyphened(option)} is given twice")
    _check_count(name, options, given, named)
    return [words[0], *given]


def _spelt_out(word: str, known: set[str]) -> str:
    """Return -o as --out.

    Raises:
        UsageError: Not just one option begins with the letter.
    """
    letter, equals, value = word[1:].partition("=")
    if word[:1] != "-" or len(letter) != 1 or not letter.isalpha():
        return word
    meant = sorted(option for option in known if option[0] == letter)
    if len(meant) != 1:
        among = ", ".join(f"--{_hyphened(option)}" for option in meant or sorted(known))
        raise UsageError(f"-{letter} is no option: expected one of {among}")
    return f"--{meant[0]}{equals}{value}"


def _check_count(
    name: str, options: list[inspect.Parameter], given: list[str], named: list[str]
) -> None:
    """Refuse too few words and too many: fire's answer to either is a page of usage.

    Raises:
        UsageError: What the command needs is missing, or there is a word that it has no use for.
    """
    flags = [word.startswith("-") and word != "-" for word in given]
    free = [
        word
        for place, word in enumerate(given)
        if not flags[place] and not (place and flags[place - 1] and "=" not in given[place - 1])
    ]
    asked = [option for option in options if option.name not in named]
    words = [option for option in asked if option.kind is option.POSITIONAL_OR_KEYWORD]
    absent = [o for o in asked if _needed(o) and o not in words[: len(free)]]
    help_line = f"`python -m bloodkeras {name} --help` says what it takes"
    if absent:
        needs = ", ".join(_shown(option) for option in options if _needed(option))
        missing = ", ".join(_shown(option) for option in absent)
        raise UsageError(f"{name} needs {needs}; missing: {missing}; {help_line}")
    if len(free) > len(words) and all(o.kind is not o.VAR_POSITIONAL for o in options):
        raise UsageError(f"{name} has no use for {free[len(words)]!r}: {help_line}")


def _needed(option: inspect.Parameter) -> bool:
    return option.default is option.empty and option.kind not in MANY


def _shown(option: inspect.Parameter) -> str:
    keyword = option.kind is option.KEYWORD_ONLY
    return f"--{_hyphened(option.name)}" if keyword else option.name.upper()


def _hyphened(option: str) -> str:
    return option.replace("_", "-")


def _check_values(words: list[str], kinds: dict[str, type]) -> None:
    """Refuse an option whose value is missing, and a switch that took the next word for its own.

    Raises:
        UsageError: Nothing, an empty text or another option follows an option that is no switch:
            fire would take it for the word True. Or what follows a switch is neither an option nor
            true or false.
    """
    for word, following in itertools.pairwise([*words, "--"]):
        option, equals, value = word[2:].partition("=")
        kind = kinds.get(option.replace("-", "_")) if word[:2] == "--" else None
        if kind not in (None, bool) and (not value if equals else following[:2] in ("", "--")):
            raise UsageError(f"--{option} needs a value: --{option} VALUE")
        if kind is bool and not equals and following[:1] != "-":
            convert(following, bool, option)
