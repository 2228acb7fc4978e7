"""Serves the page, on this machine only unless told otherwise.

Flow: takes photographs, an export, the place of a table and an address; returns when it was
stopped.
"""

import dataclasses
import logging
import socket
from functools import partial
from pathlib import Path

import uvicorn

from bloodkeras.answers.class_names import class_name
from bloodkeras.errors import BloodkerasError, UsageError
from bloodkeras.images.framing import Framing
from bloodkeras.images.scale import scaled
from bloodkeras.images.sources import check_words
from bloodkeras.labelling.app import Desk, build
from bloodkeras.labelling.calibration import Calibration
from bloodkeras.labelling.cells import Cells
from bloodkeras.labelling.state import Labelling
from bloodkeras.labelling.table import Table
from bloodkeras.laboratory.labels import NO_CLASS, PLACE, folder_of
from bloodkeras.serving.listener import address, listen, quiet_config, run_until_stopped
from bloodkeras.serving.options import is_loopback

LOG = logging.getLogger(__name__)

GRACE = 2  # seconds for what is being answered when it is stopped
LONGEST = 40  # letters of a class' name


def label(
    photos: str,
    out: str,
    export: str,
    classes: str,
    random: bool,
    framing: Framing,
    host: str,
    port: int,
) -> None:
    """Serve the page until Ctrl-C or SIGTERM.

    Args:
        photos: A folder.
        out: The table of the answers; one that is there is gone on with.
        export: The folder of the export that is to learn.
        classes: Names that may be said, separated by commas; "" for those of the export.
        random: Ask in a random order.
        framing: What is known of the photographs' magnification.
        host: Where to listen.
        port: 0 takes any that is free.

    Raises:
        UsageError: A class has a name that cannot be.
        BloodkerasError: The folder, the table or the export cannot be used, or the port is taken.
        KeyboardInterrupt: Ctrl-C.
    """
    folder_of(photos)
    check_words([photos])
    table = Table(Path(out))
    cells = Cells(photos, export, framing, out)
    labels = cells.classifier.labels
    table.spell_out(partial(_meant, labels=labels))
    named = with_those_said(named_classes(classes, labels), table)
    labelling = Labelling(cells, table, named, random)
    if len(cells.errors) == len(cells):
        first = cells.errors[min(cells.errors)]
        raise BloodkerasError(
            f"none of the {len(cells):,} photographs of {photos} can be asked about, first: {first}"
        )
    side = cells.classifier.dataset.image_side
    cells.framing = scaled([photos], dataclasses.replace(framing, image_side=side))
    listener = listen(host, port)
    calibration = Calibration(export, photos, table.path, framing.microns_per_pixel)
    desk = Desk(labelling, cells, calibration, photos)
    server = uvicorn.Server(quiet_config(build(desk, host), timeout_graceful_shutdown=GRACE))
    announce = partial(_announce, listener, host, len(cells), photos, table)
    try:
        with cells.reading(labelling.answered()):
            run_until_stopped(partial(server.run, [listener]), server.handle_exit, announce)
    finally:
        calibration.stop()


def named_classes(text: str, labels: tuple[str, ...]) -> tuple[str, ...]:
    """Return the classes that `--classes` names, in its order.

    Args:
        text: Names separated by commas; what is no class of the export is a new one. "": all of
            the export.
        labels: The export's classes.

    Raises:
        UsageError: A name is none, stands twice, or is what `label` calls something else.
    """
    named: list[str] = []
    for word in filter(None, map(str.strip, text.split(","))):
        name = _meant(word, labels)
        if PLACE.fullmatch(word) or name.casefold() in NO_CLASS or not _is_plain(name):
            raise UsageError(
                f"--classes {word}: expected a name of at most {LONGEST} letters that is no number "
                f"and none of {', '.join(NO_CLASS)}"
            )
        if name in named:
            raise UsageError(f"--classes names {name} twice")
        named.append(name)
    if len(named) == 1:
        raise UsageError(f"--classes names {named[0]} alone: expected two classes or more")
    if new := [name for name in named if name not in labels]:
        LOG.info(f"new to the network, so labelled but not calibrated: {', '.join(new)}")
    return tuple(named) or labels


def with_those_said(classes: tuple[str, ...], table: Table) -> tuple[str, ...]:
    """Return the classes, and behind them what else a table that is gone on with calls cells.

    Raises:
        BloodkerasError: It says something that cannot be a class.
    """
    more: list[str] = []
    for row in table.rows:
        if row.label in (*classes, *more) or row.label in NO_CLASS:
            continue
        if PLACE.fullmatch(row.label) or not _is_plain(row.label):
            raise BloodkerasError(
                f"{table.path}: {row.file} is labelled {row.label[:LONGEST]}: expected the name of "
                "a class"
            )
        more.append(row.label)
    if more:
        LOG.info(f"{table.path} has these classes too: {', '.join(more)}")
    return (*classes, *more)


def _meant(word: str, labels: tuple[str, ...]) -> str:
    """Return the export's class that a word or a number from 0 means, or the word."""
    if (number := PLACE.fullmatch(word)) and int(number[1]) < len(labels):
        return labels[int(number[1])]
    try:
        return class_name(word, labels)
    except UsageError:
        return " ".join(word.split())


def _is_plain(name: str) -> bool:
    return 0 < len(name) <= LONGEST and name.isprintable()


def _announce(listener: socket.socket, host: str, count: int, photos: str, table: Table) -> None:
    said = f", {len(table.rows):,} of them labelled already" if table.rows else ""
    print(
        f"{address(listener)} asks about {count:,} photographs of {photos}{said}; answers go to "
        f"{table.path}; Ctrl-C stops it",
        flush=True,
    )
    if not is_loopback(host):
        LOG.warning(f"{host} can be reached from other machines, and anybody may look and answer")
