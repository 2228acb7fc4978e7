"""Turns words into a command's typed options, all from one declaration: the command's signature.

Flow: takes a function and the words that fire has sorted; gives the call, or says what is wrong.

An annotation is an option's type; `Annotated[str, "..."]` brings its line of --help along where
several commands have the option, and the docstring adds to it. A dataclass stands for options that
come together: each of its fields is one. `**settings` are the fields of a recipe.
"""

import dataclasses
import functools
import inspect
import re
import typing
from collections.abc import Callable
from dataclasses import dataclass
from inspect import Parameter
from typing import Annotated, Any

from bloodkeras.answers.exports import (
    PHOTOGRAPHS,
    default_export,
    find_export,
    published,
)
from bloodkeras.errors import UsageError
from bloodkeras.recipe import convert, option, settings, short, unknown_option
from bloodkeras.recipes import RECIPES, TAUGHT, taught

FLAG = re.compile(r"--?([a-zA-Z][\w-]*)")  # what fire takes for an option
ARGS = re.compile(r"^    (\w+): (.+(?:\n {8,}.+)*)", re.M)  # of a docstring
SWITCHED_ON = "True"  # what fire makes of an option without a value
Command = Callable[..., Any]
MANY = (Parameter.VAR_POSITIONAL, Parameter.VAR_KEYWORD)
# What an option of before has become.
JUDGED = ("photos", "labels", "tightness", "microns_per_pixel", "classes", "prior")
MOVED = {("evaluate", name): "judge EXPORT --photos FOLDER" for name in JUDGED}
MOVED |= {("evaluate", "shifts"): "shifts EXPORT"}

Model = Annotated[str, f"A recipe: {', '.join(RECIPES)}."]
Target = Annotated[
    str, "A model name (its run with the recipe's seed), a run folder, or an export."
]
Export = Annotated[
    str,
    f"A published export ({', '.join(published())}), or the folder of one of your own, such as "
    "runs/exports/deeper.",
]
Data = Annotated[
    str,
    'A .npz file, "synthetic" (drawn cells), or "auto" (synthetic where BloodMNIST cannot be had). '
    "By default the variable BLOODKERAS_DATA, then ~/.medmnist, then the download.",
]
Size = Annotated[
    int,
    "Side of the images in pixels: 28, 64, 128 or 224, as MedMNIST publishes them; drawn cells and "
    "a file of your own may have any. By default that of the run or export that is named, or of "
    "the file, or else 28. What comes of BloodMNIST at another side lies in <runs>/<side>.",
]
Runs = Annotated[str, "Folder of all runs."]
RUNS = "runs"  # below the current folder
Exports = Annotated[
    str,
    "Folder of all exports; by default <runs>/exports (of drawn cells <runs>/synthetic/exports), "
    "apart from what comes with the package.",
]
Host = Annotated[str, "Where to listen; by default only this machine can ask."]
Port = Annotated[int, "0 takes any that is free."]
Photos = Annotated[str, "A folder of your own photographs of cells."]
Labels = Annotated[
    str,
    "What they show, a CSV with the columns file and label, which is a class name, an abbreviation "
    "such as NEU, or its number from 0. Without it the folder has a folder for each class, as "
    "`predict --sort-into` makes them.",
]
Microns = Annotated[
    float,
    "Of the photographs, where it is known. 0: by the file microns_per_pixel.txt beside them, or "
    "else estimated from the cells: of a folder or list from all together.",
]


@dataclass(frozen=True)
class Asking:
    """How a model is asked: the same options wherever images are answered."""

    precision: Annotated[str, "float32, or int8: a quicker file that answers nearly the same."] = (
        "float32"
    )
    classes: Annotated[
        str,
        "The classes that can occur, such as neutrophil,lymphocyte; the others get probability 0. "
        "By default all can.",
    ] = ""
    prior: Annotated[
        str,
        "A file that weighs the classes instead, JSON {class: weight} or CSV with the columns "
        "class and weight; probabilities are multiplied by it. Or the word blood: white cells of "
        "healthy adults, as common as in their blood. `predict` and `count` take the word estimate "
        "too: to find out from all the images, which are read twice, how common each class is.",
    ] = ""
    microns_per_pixel: Microns = 0.0
    views: Annotated[
        bool,
        "Answer the mean over each image's eight flips and quarter turns: eight times the work, "
        "for photographs unlike the training data.",
    ] = False


def export_folder(word: str, kind: str = PHOTOGRAPHS) -> str:
    """Return the folder of the export that a word means; without a word, of that for a kind."""
    return str(find_export(word) if word else default_export(kind))


def seed_numbers(text: str) -> list[int]:
    """Return the numbers in a text, separated by commas."""
    return [convert(seed, int, "seeds") for seed in text.split(",")]


def parameters(command: Command) -> dict[str, Parameter]:
    """Return what a command takes, each field of a dataclass by itself, with plain types."""
    kinds, found = typing.get_type_hints(command), {}
    for taken in inspect.signature(command).parameters.values():
        kind = kinds[taken.name]
        if not dataclasses.is_dataclass(kind):
            found[taken.name] = taken.replace(annotation=kind)
            continue
        plain = typing.get_type_hints(kind)
        for field in dataclasses.fields(kind):
            found[field.name] = Parameter(
                field.name,
                Parameter.KEYWORD_ONLY,
                default=field.default,
                annotation=plain[field.name],
            )
    return found


def described(command: Command) -> Command:
    """Return a function that looks to fire's help as the command does to its users."""
    hints = typing.get_type_hints(command, include_extras=True)
    for kind in [kind for kind in hints.values() if dataclasses.is_dataclass(kind)]:
        hints |= typing.get_type_hints(kind, include_extras=True)
    text, _, args = (inspect.getdoc(command) or "").partition("Args:\n")
    own = dict(ARGS.findall(args))
    lines = []
    for name in parameters(command):
        shared = getattr(hints[name], "__metadata__", ("",))[0]
        lines.append(f"    {name}: {' '.join([shared, *own.get(name, '').split()]).strip()}")

    def shown() -> None: ...

    vars(shown)["__signature__"] = inspect.Signature(list(parameters(command).values()))
    shown.__doc__ = f"{text}\n\nArgs:\n" + "\n".join(lines)
    return shown


def settings_table(command: Command) -> str:
    """Return what `**settings` may be: the fields of a recipe, and where recipes differ.

    A field whose short name is an option of the command is shown by its full one.
    """
    lines = ["RECIPE FIELDS"]
    for name, field in settings().items():
        unit = f", in {field.metadata['unit']}" * bool(field.metadata["unit"])
        values = {model: getattr(recipe, name) for model, recipe in RECIPES.items()}
        others = [f"{model} {v}" for model, v in values.items() if v != field.default]
        if "teacher" in parameters(command):
            students = {model: getattr(taught(RECIPES[model]), name) for model in TAUGHT}
            others += [f"{model} taught {v}" for model, v in students.items() if v != values[model]]
        default = ", ".join([f"default {field.default}", *others])
        typed = name if short(name) in parameters(command) else short(name)
        lines.append(f"    {option(typed)}: {field.metadata['about']}")
        lines.append(f"        {field.metadata['range'].text}{unit}; {default}")
    return "\n".join(lines)


def catching(name: str, command: Command) -> Command:
    """Return the command as fire is to see it: it takes any words, so all are checked here."""
    known = _known(command)

    def called(*words: str, **options: str) -> Any:
        return bound(name, command, words, options)()

    flags = [Parameter(each, Parameter.KEYWORD_ONLY, default=None) for each in known]
    rest = [Parameter("words", MANY[0]), *flags, Parameter("options", MANY[1])]
    vars(called)["__signature__"] = inspect.Signature(rest)
    return called


def refuse_unclear(command: Command, words: list[str]) -> None:
    """Refuse what fire would understand otherwise: an option given twice, a text switched off.

    Raises:
        UsageError: The message names the option.
    """
    known, found = _known(command), []
    for match in filter(None, map(FLAG.match, words)):
        typed = match[1].replace("-", "_")
        if typed[:2] == "no" and typed not in known and known.get(typed[2:], bool) is not bool:
            raise unknown_option(typed, known)
        full = _spelt_out(typed, command)
        if full in found:
            raise UsageError(f"{option(full)} is given twice")
        found.append(full)


def bound(name: str, command: Command, words: tuple[str, ...], options: dict[str, str]) -> Command:
    """Return the command with its words and options, typed.

    Raises:
        UsageError: There is no such option, a value is missing or not of the option's type, or
            there are too few words or too many.
    """
    taken, known = parameters(command), _known(command)
    given = {}
    for typed, text in options.items():
        full = _spelt_out(typed, command)
        if (name, full) in MOVED:
            raise UsageError(
                f"{option(full)} of {name} has moved: `bloodkeras {MOVED[name, full]}`"
            )
        if full not in known:
            raise unknown_option(full, [o for o in known if o not in settings()])
        if known[full] is not bool and text in ("", SWITCHED_ON):
            raise UsageError(f"{option(full)} needs a value: {option(full)} VALUE")
        given[full] = convert(text, known[full], full) if full in taken else text
    _check_count(name, taken, words, given)
    for group, kind in typing.get_type_hints(command).items():
        if isinstance(kind, type) and dataclasses.is_dataclass(kind):
            names = [field.name for field in dataclasses.fields(kind) if field.name in given]
            given[group] = kind(**{each: given.pop(each) for each in names})
    return functools.partial(command, *words, **given)


def _known(command: Command) -> dict[str, type]:
    """Return the type of everything that can be given by name, recipe fields by both names."""
    taken = parameters(command).values()
    known = {each.name: each.annotation for each in taken if each.kind not in MANY}
    if any(each.kind is Parameter.VAR_KEYWORD for each in taken):
        fields = settings()
        known = {short(each): field.type for each, field in fields.items()} | known
        known |= {each: field.type for each, field in fields.items()}
    return known


def _spelt_out(typed: str, command: Command) -> str:
    """Return o as out.

    Raises:
        UsageError: Not just one option begins with the letter.
    """
    if len(typed) != 1:
        return typed
    known = sorted(each.name for each in parameters(command).values() if each.kind not in MANY)
    meant = [each for each in known if each[0] == typed]
    if len(meant) != 1:
        among = ", ".join(map(option, meant or known))
        raise UsageError(f"-{typed} is not an option: expected one of {among}")
    return meant[0]


def _check_count(
    name: str, taken: dict[str, Parameter], words: tuple[str, ...], given: dict[str, Any]
) -> None:
    """Refuse too few words and too many.

    Raises:
        UsageError: What the command needs is missing, or there is a word that it does not take.
    """
    asked = [each for each in taken.values() if each.name not in given]
    places = [each for each in asked if each.kind is each.POSITIONAL_OR_KEYWORD]
    needed = [
        each for each in taken.values() if each.default is each.empty and each.kind not in MANY
    ]
    absent = [e for e in needed if e in asked and e not in places[: len(words)]]
    help_line = f"`bloodkeras {name} --help` says what it takes"
    if absent:
        needs, missing = (", ".join(map(_shown, some)) for some in (needed, absent))
        raise UsageError(f"{name} needs {needs}; missing: {missing}; {help_line}")
    if len(words) > len(places) and all(each.kind is not MANY[0] for each in taken.values()):
        raise UsageError(f"{name} does not take {words[len(places)]!r}: {help_line}")


def _shown(taken: Parameter) -> str:
    return option(taken.name) if taken.kind is taken.KEYWORD_ONLY else taken.name.upper()
