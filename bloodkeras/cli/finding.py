"""The commands for whole fields of view: the cells in them cut out, and counted.

Each imports its step inside the function, so that `--help` stays quick.
"""

from dataclasses import asdict
from typing import Annotated

from bloodkeras.cli.options import Asking, Export, Microns, export_folder
from bloodkeras.errors import UsageError

Fields = Annotated[
    str,
    "Photographs of whole fields of view: files, folders (searched to any depth), globs, or - for "
    "a list of paths on standard input.",
]
Resume = Annotated[
    bool, "Go on with what is in out after an interruption. Give the same fields again."
]


def find(
    *fields: Fields, out: str, resume: Resume = False, microns_per_pixel: Microns = 0.0
) -> None:
    """Cut the white cells out of whole fields of view.

    Leaves a crop of each cell, as `predict` wants it, boxes.csv and the scale in out; and in
    <out>-overlays each field with its cells marked (docs/fields.md). Needs the extra find.

    Args:
        out: A folder for the crops and the table.
    """
    from bloodkeras.fields.find import conclude, find_cells_in

    if not fields:
        raise UsageError("find needs at least one file or folder of fields")
    conclude(find_cells_in(list(fields), out, microns_per_pixel, resume), out)


def count(
    *fields: Fields,
    out: str = "count",
    model: Export = "",
    resume: Resume = False,
    edge: bool = False,
    asking: Asking = Asking(),  # noqa: B008 (frozen)
) -> None:
    """Count the white cells in whole fields of view: how common is each class?

    Finds them as `find` does, names them as `predict` does, and prints the differential with 95 %
    intervals. Leaves a page in which a click corrects an answer. Needs the extra find.

    Args:
        out: A folder for all results: differential.html, differential.csv, answers.csv, cells/ and
            cells-overlays/.
        model: By default robust-64.
        edge: Count cells, too, whose nucleus a field's edge cuts: they cannot be named as surely.
    """
    from bloodkeras.fields.count import count_cells

    if not fields:
        raise UsageError("count needs at least one file or folder of fields")
    folder = model and export_folder(model)
    count_cells(list(fields), out, folder, resume, edge, **asdict(asking))
