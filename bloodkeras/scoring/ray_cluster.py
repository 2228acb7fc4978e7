"""Finds a Ray cluster, or starts one on this machine, and keeps it quiet.

Flow: takes an address; gives the module ray, connected.
"""

import logging
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import ModuleType
from typing import Any

from bloodkeras.errors import BloodkerasError, gist, missing_package
from bloodkeras.interrupts import heed_stops
from bloodkeras.named_types import Json

SETTINGS = {
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",  # no warning of what a later Ray will do
    "RAY_BACKEND_LOG_LEVEL": "fatal",
    "RAY_worker_niceness": "0",  # 15 by default: whatever else runs here would go first
}
REACH_SECONDS = 5
STORE_BYTES = 200_000_000  # of a cluster started here: only numbers of partitions go through it


@contextmanager
def joined_cluster(address: str, workers: int) -> Iterator[Any]:
    """Connect to a cluster, or start one here; yield ray.

    Args:
        address: HOST:PORT or auto; "": RAY_ADDRESS, or else a cluster on this machine.
        workers: Cores of one that is started here; 0: all.

    Raises:
        BloodkerasError: Ray is not installed, or there is no such cluster.
    """
    for name, value in SETTINGS.items():
        os.environ.setdefault(name, value)
    try:
        import ray
        import ray.data
    except ImportError:
        raise missing_package("Ray", "ray") from None
    address = address or os.environ.get("RAY_ADDRESS", "") or "local"
    _reach(address)
    options: Json = {
        "include_dashboard": False,
        "num_cpus": workers or None,
        "object_store_memory": STORE_BYTES,
    }
    try:
        with _no_start_up_notes():
            ray.init(
                address,
                log_to_driver=False,
                logging_level=logging.CRITICAL,
                **(options if address == "local" else {}),
            )
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


def _quiet(ray: ModuleType) -> None:
    """Keep Ray's words off the terminal, the many last ones of a lost machine among them."""
    context = ray.data.DataContext.get_current()
    context.max_errored_blocks = -1  # the next round has them
    context.enable_progress_bars = context.print_on_execution_start = False
    for name in ("ray", "ray.data"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    with suppress(AttributeError):  # no option does it
        ray._private.worker._worker_logs_enabled = False
