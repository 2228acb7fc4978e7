"""Classifies partitions on a Ray cluster, through Ray Data: an actor a core, a session an actor.

Flow: takes the folder of answers and the partitions that are wanted; gives each `Done` as it comes.

Ray Data starts lost actors again and hands their partitions out again, as often as it must (its
defaults: max_restarts=-1, max_task_retries=-1). What it still loses goes into another round: what
is done is what lies on the disk, never what a worker said.
"""

import json
import logging
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

from bloodkeras.errors import BloodkerasError, gist
from bloodkeras.named_types import Json
from bloodkeras.scoring.partition import Done, Worker
from bloodkeras.scoring.ray_cluster import joined_cluster

LOG = logging.getLogger(__name__)

IDLE_ROUNDS = 3  # in a row without one finished partition: then no other round will help
MOST_BLOCKS = 10_000  # that Ray Data is given; a block of more partitions takes them in turn
COLOURS = re.compile(r"\x1b\[[0-9;]*m")
AHEAD = 2  # blocks that an actor has, the one it is at among them


class PartitionActor:
    """One session on some core, which Ray Data hands partitions to."""

    def __init__(self, out: str) -> None:
        """Load the model; what is wrong is told with the first partition, for all to stop."""
        import ray

        context: Any = ray.get_runtime_context()
        cores = context.get_assigned_resources().get("CPU", 1)
        self._host = ray.util.get_node_ip_address()  # type: ignore[no-untyped-call]
        self._failure = ""
        try:
            self._worker = Worker(Path(out), max(1, int(cores)))
        except Exception as error:  # raised, Ray Data would take it for a lost worker
            self._failure = _said(error)

    def __call__(self, batch: Json) -> Json:
        """Classify one partition; give its `Done`, or a failure, which another worker has too."""
        (partition,) = batch["partition"].tolist()
        failure, counts = self._failure, {}
        try:
            if not failure:
                counts = self._worker.classify(partition).counts
        except Exception as error:  # the same
            failure = f"partition {partition}: {_said(error)}"
        failure = f"{failure} (on {self._host})" if failure else ""
        return {"partition": [partition], "counts": [json.dumps(counts)], "failure": [failure]}


def _said(error: Exception) -> str:
    """Return an error as one line; one that is not ours with its name."""
    own = isinstance(error, BloodkerasError)
    return str(error) if own else f"{type(error).__name__}: {gist(error)}"


def run_ray(
    out: Path, partitions: list[int], workers: int, address: str, find: Callable[[int], Done | None]
) -> Iterator[Done]:
    """Yield the partitions as they get done.

    Args:
        out: The folder of answers, with its plan; the same path on every machine.
        partitions: The wanted ones.
        workers: Actors, of one core each; 0: one for every core of the cluster.
        address: Of a cluster; "": RAY_ADDRESS, or else a cluster on this machine, for this job.
        find: Returns a partition if it is finished.

    Raises:
        BloodkerasError: There is no cluster, a worker cannot read or write what it must, or
            rounds end without one finished partition.
    """
    left, idle = dict.fromkeys(partitions), 0
    with joined_cluster(address, workers) as ray:
        while left:
            before, reason = len(left), "its workers were lost"
            try:
                for done in _round(ray, out, list(left), workers):
                    if done.partition in left:
                        del left[done.partition]
                        yield done
            except (ray.exceptions.RayError, ray.data.exceptions.ExecutionTimeoutError) as error:
                reason = COLOURS.sub("", gist(error))
            for done in filter(None, map(find, list(left))):  # done, and its worker lost then
                del left[done.partition]
                yield done
            idle = idle + 1 if len(left) == before else 0
            if idle == IDLE_ROUNDS:
                raise BloodkerasError(
                    f"partition {min(left)} was tried {idle} times and never finished ({reason}): "
                    "run the same command again to go on"
                )


def _round(ray: ModuleType, out: Path, partitions: list[int], workers: int) -> Iterator[Done]:
    """Hand the partitions to Ray Data; yield those whose end is heard of."""
    cores = int(ray.cluster_resources().get("CPU", 1))
    most = min(workers, len(partitions)) or len(partitions)  # machines may join
    pool = ray.data.ActorPoolStrategy(
        min_size=1,  # idle actors go, so that a lost one's place can be another's
        initial_size=max(1, min(cores, most)),
        max_size=most,
        max_tasks_in_flight_per_actor=AHEAD,
    )
    blocks = min(len(partitions), MOST_BLOCKS)
    tasks = ray.data.from_items([{"partition": k} for k in partitions], override_num_blocks=blocks)
    answers = tasks.map_batches(
        PartitionActor, fn_constructor_args=(str(out),), batch_size=1, num_cpus=1, compute=pool
    )
    alive = _machines(ray)
    for row in answers.iter_rows():
        if row["failure"]:
            raise BloodkerasError(row["failure"])
        if (now := _machines(ray)) < alive:
            LOG.warning("a machine was lost: others do what it had")
        alive = now
        yield Done(row["partition"], json.loads(row["counts"]))


def _machines(ray: ModuleType) -> int:
    return sum(node["Alive"] for node in ray.nodes())
