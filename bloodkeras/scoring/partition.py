"""Classifies one partition: what every worker does, wherever it is, as often as it must.

Flow: takes the folder of answers, a loaded model, a partition's number; gives part-000123.parquet
and a `Done`. The file is whole or not there, and the same whoever writes it.
"""

import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from types import ModuleType
from typing import Any

from bloodkeras.answers.classifier import Classifier
from bloodkeras.answers.formats import PARQUET_ROWS, cells, columns, import_pyarrow, parquet_schema
from bloodkeras.answers.origin import describe_model
from bloodkeras.answers.predict import answer_batches
from bloodkeras.answers.table import Row
from bloodkeras.errors import BloodkerasError
from bloodkeras.named_types import Json
from bloodkeras.scoring.plan import MODEL_FOLDER, PLAN_FOLDER, Plan, read_plan
from bloodkeras.scoring.reading import read_items
from bloodkeras.whole_file import temporary_files, whole_file

MARK = b"bloodkeras"  # the key of what a part says of itself
MOST_KILLED = 5  # workers at the same partition, whose temporary files are left
FAILED = "failed"  # counted beside the verdicts: images that could not be read


@dataclass(frozen=True)
class Done:
    """A finished partition."""

    partition: int
    counts: dict[str, int]  # rows of each verdict, and FAILED


def part_path(out: Path, partition: int) -> Path:
    """Return where a partition's answers are."""
    return out / f"part-{partition:06}.parquet"


Tell = Callable[[int], None]


def unheard(count: int) -> None:
    """Tell nobody."""


class Worker:
    """A session of the plan's model, and the threads that feed it."""

    def __init__(self, out: Path, threads: int) -> None:
        """Load the model of a folder of answers.

        Args:
            out: The folder; `begin` has written its plan.
            threads: For the network, and as many for reading.

        Raises:
            BloodkerasError: The folder is not there, or this machine runs other versions.
        """
        self._out, self._threads = out, threads
        self._folder = out / PLAN_FOLDER
        self._plan = read_plan(self._folder)
        model = self._folder / MODEL_FOLDER
        self._classifier = Classifier.load(model, threads, self._plan.precision)
        self._classifier.batch_size = self._plan.batch
        self._side = self._classifier.dataset.image_side
        _check_model(self._plan, describe_model(self._classifier, self._plan.precision))

    def classify(self, partition: int, tell: Tell = unheard) -> Done:
        """Write a partition's answers, if they are not there.

        Args:
            partition: Which.
            tell: Called after every batch with how many images it had.

        Raises:
            BloodkerasError: The source is not there, the answers cannot be written, or several
                workers were killed at it.
        """
        if done := finished(self._out, self._plan, partition):
            return done
        if len(list(temporary_files(part_path(self._out, partition)))) >= MOST_KILLED:
            raise BloodkerasError(
                f"partition {partition} was begun {MOST_KILLED} times by workers that were killed "
                "then: is there memory enough for it? Go on with a smaller --partition-images"
            )
        plan = self._plan
        items = read_items(self._folder, plan, partition, self._threads, self._side)
        batches = answer_batches(self._classifier, items, plan.weights, plan.views)
        return write_part(self._out, plan, partition, _told(batches, tell))


def _told(batches: Iterable[list[Row]], tell: Tell) -> Iterator[list[Row]]:
    for rows in batches:
        yield rows
        tell(len(rows))


def write_part(out: Path, plan: Plan, partition: int, batches: Iterable[list[Row]]) -> Done:
    """Write a partition's rows, as they come."""
    arrow = import_pyarrow()
    schema = parquet_schema(columns(plan.labels))
    counts: Counter[str] = Counter()
    with (
        whole_file(part_path(out, partition)) as file,
        arrow.parquet.ParquetWriter(file, schema) as writer,
    ):
        for table in _tables(arrow, schema, batches, counts):
            writer.write_table(table, PARQUET_ROWS)
        mark = {"plan": plan.sha256, "partition": partition, "counts": dict(sorted(counts.items()))}
        writer.add_key_value_metadata({MARK: json.dumps(mark)})
    return Done(partition, dict(counts))


def finished(out: Path, plan: Plan, partition: int) -> Done | None:
    """Return what a finished partition holds; None where it is not there, damaged or another's."""
    arrow = import_pyarrow()
    path = part_path(out, partition)
    if not path.exists():
        return None
    try:
        with arrow.parquet.ParquetFile(path) as table:
            mark = json.loads(table.metadata.metadata[MARK])
    except (OSError, arrow.ArrowException, KeyError, TypeError, ValueError):
        return None
    if (mark["plan"], mark["partition"]) != (plan.sha256, partition):
        return None
    return Done(partition, mark["counts"])


def _tables(
    arrow: ModuleType, schema: Any, batches: Iterable[list[Row]], counts: Counter[str]
) -> Iterator[Any]:
    """Yield the rows as pyarrow.Tables, spelt as `predict` does, numbers unrounded; count them."""
    class_count = len(schema) - len(columns(()))
    spelt = (cells(row, class_count) for rows in batches for row in rows)
    while some := list(islice(spelt, PARQUET_ROWS)):
        *_, verdicts, _ = by_column = [list(column) for column in zip(*some, strict=True)]
        counts.update(verdict or FAILED for verdict in verdicts)
        yield arrow.table(by_column, schema=schema)


def _check_model(plan: Plan, found: Json) -> None:
    for name, here in found.items():
        if (planned := getattr(plan, name)) != here:
            raise BloodkerasError(
                f"the plan is for {name.replace('_', ' ')} {planned}, this machine has {here}: "
                "install the same everywhere"
            )
