"""Classifies partitions on a Ray cluster, through Ray Data: an actor a core, a session an actor.

Flow: takes the folder of answers and the partitions that are wanted; gives each `Done` as it comes.

What is done is what lies on the disk, never what a worker said: after a round of Ray Data the
partitions that are not there go into another one. So an actor's lost tasks are not retried by Ray
itself: with max_task_retries=-1, Ray Data's default, they wait for their own actor to be restarted,
for ever where the cores of a lost machine do not come back.
"""

import json
import logging
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from bloodkeras.errors import BloodkerasError, gist, missing_package
from bloodkeras.scoring.partition import Done, Worker

QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",  # nothing is sent anywhere
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",  # no warning of what a later Ray will do
    "RAY_DATA_DISABLE_PROGRESS_BARS": "1",  # ours counts images
}
IDLE_ROUNDS = 3  # in a row without one finished partition: then the machines are not at fault
MOST_BLOCKS = 10_000  # that Ray Data is given; a block of more partitions takes them in turn
AHEAD = 2  # blocks that an actor has, the one it is at among them


class PartitionActor:
    """One session on some core, which Ray Data hands partitions to."""

    def __init__(self, out: str):
        """Load the model; what is wrong is told with the first partition.

        Raised here it would not reach the driver: Ray Data would start another actor, for ever.
        """
        import ray

        cores = ray.get_runtime_context().get_assigned_resources().get("CPU", 1)
        self._host = ray.util.get_node_ip_address()
        self._failure = ""
        try:
            self._worker = Worker(Path(out), max(1, int(cores)))
        except BloodkerasError as error:
            self._failure = str(error)

    def __call__(self, batch: dict) -> dict:
        """Classify one partition; give its `Done`, or a failure that another worker has too."""
        (partition,) = batch["partition"].tolist()
        failure, counts = self._failure, {}
        try:
            if not failure:
                counts = self._worker.classify(partition).counts
        except BloodkerasError as error:
            failure = str(error)
        failure = f"{failure} (on {self._host})" if failure else ""
        return {"partition": [partition], "counts": [json.dumps(counts)], "failure": [failure]}


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
        BloodkerasError: There is no cluster, answers cannot be written, or workers are lost
            again and again.
    """
    left, idle = dict.fromkeys(partitions), 0
    with _cluster(address, workers) as ray:
        while left:
            before, reason = len(left), "its workers were lost"
            try:
                for done in _round(ray, out, list(left), workers):
                    if left.pop(done.partition, done) is None:
                        yield done
            except ray.exceptions.RayError as error:
                reason = gist(error)
            for done in filter(None, map(find, list(left))):  # done, and its worker lost then
                del left[done.partition]
                yield done
            idle = idle + 1 if len(left) == before else 0
            if idle == IDLE_ROUNDS:
                raise BloodkerasError(
                    f"partition {min(left)} was tried {idle} times and never finished ({reason}): "
                    "run the same command again to go on"
                )


def _round(ray, out: Path, partitions: list[int], workers: int) -> Iterator[Done]:
    """Hand the partitions to Ray Data; yield those whose end is heard of."""
    cores = int(ray.cluster_resources().get("CPU", 1))
    actors = max(1, min(workers or cores, len(partitions)))
    blocks = min(len(partitions), MOST_BLOCKS)
    tasks = ray.data.from_items([{"partition": k} for k in partitions], override_num_blocks=blocks)
    answers = tasks.map_batches(
        PartitionActor,
        fn_constructor_args=(str(out),),
        batch_size=1,
        num_cpus=1,
        compute=ray.data.ActorPoolStrategy(
            min_size=1, initial_size=actors, max_size=workers or max(actors, len(partitions)),
            max_tasks_in_flight_per_actor=AHEAD,
        ),
        max_restarts=-1,  # an actor comes back where there is a free core, if there is
        max_task_retries=0,
    )  # fmt: skip
    for row in answers.iter_rows():
        if row["failure"]:
            raise BloodkerasError(row["failure"])
        yield Done(row["partition"], json.loads(row["counts"]))


@contextmanager
def _cluster(address: str, workers: int) -> Iterator:
    """Connect to a cluster, or start one here; yield ray.

    Raises:
        BloodkerasError: Ray is not installed, or there is no such cluster.
    """
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)
    try:
        import ray
        import ray.data
    except ImportError:
        raise missing_package("Ray", "pip install 'bloodkeras[ray]'") from None
    address = address or os.environ.get("RAY_ADDRESS", "")
    started = not address and not ray.is_initialized()
    options = {"include_dashboard": False, "num_cpus": workers or None} if started else {}
    try:
        ray.init(address or "local" if not ray.is_initialized() else None, log_to_driver=False,
                 logging_level=logging.CRITICAL, ignore_reinit_error=True, **options)  # fmt: skip
    except Exception as error:  # ConnectionError, ValueError, RuntimeError: whatever is wrong there
        raise BloodkerasError(f"no Ray cluster at {address or 'local'}: {gist(error)}") from None
    context = ray.data.DataContext.get_current()
    context.max_errored_blocks = -1  # a lost worker's partitions: the next round has them
    context.enable_progress_bars = False
    logging.getLogger("ray").setLevel(logging.CRITICAL)
    logging.getLogger("ray.data").setLevel(logging.CRITICAL)
    try:
        yield ray
    finally:
        ray.shutdown()
