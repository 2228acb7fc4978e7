"""Classifies partitions on a Ray cluster, through Ray Data: an actor a core, a session an actor.

Flow: takes the folder of answers and the partitions that are wanted; gives each `Done` as it comes.

Ray Data starts lost actors again and hands their partitions out again, as often as it must (its
defaults: max_restarts=-1, max_task_retries=-1). What it still loses goes into another round: what
is done is what lies on the disk, never what a worker said.
"""

import json
import logging
import os
import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from bloodkeras.errors import BloodkerasError, gist, missing_package
from bloodkeras.interrupts import heed_stops
from bloodkeras.scoring.partition import Done, Worker

SETTINGS = {
    "RAY_USAGE_STATS_ENABLED": "0",  # nothing is sent anywhere
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",  # no warning of what a later Ray will do
    "RAY_BACKEND_LOG_LEVEL": "fatal",
    "RAY_worker_niceness": "0",  # 15 by default: whatever else runs here would go first
}
IDLE_ROUNDS = 3  # in a row without one finished partition: then no other round will help
MOST_BLOCKS = 10_000  # that Ray Data is given; a block of more partitions takes them in turn
REACH_SECONDS = 5
AHEAD = 2  # blocks that an actor has, the one it is at among them


class PartitionActor:
    """One session on some core, which Ray Data hands partitions to."""

    def __init__(self, out: str):
        """Load the model; what is wrong is told with the first partition, for all to stop."""
        import ray

        cores = ray.get_runtime_context().get_assigned_resources().get("CPU", 1)
        self._host = ray.util.get_node_ip_address()
        self._failure = ""
        try:
            self._worker = Worker(Path(out), max(1, int(cores)))
        except BloodkerasError as error:
            self._failure = str(error)

    def __call__(self, batch: dict) -> dict:
        """Classify one partition; give its `Done`, or a failure, which another worker has too."""
        (partition,) = batch["partition"].tolist()
        failure, counts = self._failure, {}
        try:
            if not failure:
                counts = self._worker.classify(partition).counts
        except BloodkerasError as error:
            failure = str(error)
        except Exception as error:  # the driver would only learn that something failed
            failure = f"partition {partition}: {type(error).__name__}: {gist(error)}"
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
        BloodkerasError: There is no cluster, a worker cannot read or write what it must, or
            rounds end without one finished partition.
    """
    left, idle = dict.fromkeys(partitions), 0
    with _cluster(address, workers) as ray:
        while left:
            before, reason = len(left), "its workers were lost"
            try:
                for done in _round(ray, out, list(left), workers):
                    if done.partition in left:
                        del left[done.partition]
                        yield done
            except (ray.exceptions.RayError, ray.data.exceptions.ExecutionTimeoutError) as error:
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
            print("a machine was lost: others do what it had", file=sys.stderr)
        alive = now
        yield Done(row["partition"], json.loads(row["counts"]))


def _machines(ray) -> int:
    return sum(node["Alive"] for node in ray.nodes())


@contextmanager
def _cluster(address: str, workers: int) -> Iterator:
    """Connect to a cluster, or start one here; yield ray.

    Raises:
        BloodkerasError: Ray is not installed, or there is no such cluster.
    """
    for name, value in SETTINGS.items():
        os.environ.setdefault(name, value)
    try:
        import ray
        import ray.data
    except ImportError:
        raise missing_package("Ray", "pip install 'bloodkeras[ray]'") from None
    address = address or os.environ.get("RAY_ADDRESS", "") or "local"
    _reach(address)
    options = {"include_dashboard": False, "num_cpus": workers or None}
    try:
        with _no_start_up_notes():
            ray.init(address, log_to_driver=False, logging_level=logging.CRITICAL,
                     **(options if address == "local" else {}))  # fmt: skip
    except Exception as error:  # ConnectionError, ValueError, RuntimeError: whatever is wrong there
        raise BloodkerasError(f"no Ray cluster at {address}: {gist(error)}") from None
    heed_stops()  # Ray took SIGTERM
    _quiet(ray)
    try:
        yield ray
    finally:
        ray.shutdown()


def _reach(address: str) -> None:
    """Find out that something listens at HOST:PORT: Ray itself would try for minutes.

    Raises:
        BloodkerasError: Nothing does.
    """
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not port.isdecimal():  # auto, local
        return
    try:
        socket.create_connection((host, int(port)), REACH_SECONDS).close()
    except (OSError, OverflowError) as error:
        raise BloodkerasError(f"no Ray cluster at {address}: {gist(error)}") from None


@contextmanager
def _no_start_up_notes() -> Iterator[None]:
    """Keep the process' stderr to oneself: Ray's C++ says there which log level it was given."""
    stderr, nothing = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, 2)
    try:
        yield
    finally:
        os.dup2(stderr, 2)
        os.close(stderr)
        os.close(nothing)


def _quiet(ray) -> None:
    """Keep Ray's words off the terminal, a machine's last ones among them: they are in its logs."""
    context = ray.data.DataContext.get_current()
    context.max_errored_blocks = -1  # the next round has them
    context.enable_progress_bars = context.print_on_execution_start = False
    for name in ("ray", "ray.data"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    ray._private.worker._worker_logs_enabled = False
