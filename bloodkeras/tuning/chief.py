"""A search over several machines: the chief hands out trials, workers train them.

Flow: the chief takes an oracle and serves it by gRPC; a worker gets what looks like that oracle.
KerasTuner's own server and client do the talking. Its waiting loop is replaced: that waits for ever
for a worker that died (keras-tuner#915). Nothing is encrypted or authenticated: for a network whose
machines you trust.
"""

import contextlib
import logging
import os
import threading
import time
from collections.abc import Callable, Iterator
from concurrent import futures
from typing import Any

import grpc
from keras_tuner import Oracle
from keras_tuner.src import protos
from keras_tuner.src.distribute import oracle_client
from keras_tuner.src.distribute.oracle_chief import OracleServicer
from keras_tuner.src.engine import conditions

from bloodkeras.errors import BloodkerasError, UsageError

LOG = logging.getLogger(__name__)

WAIT_SECONDS = 120  # a worker waits so long for a chief that does not answer
LOOK_SECONDS = 0.5
# KerasTuner 1.4.8 prints a condition's value whenever it sends one (left from debugging).
conditions.print = lambda *_: None
BEATS = 6  # heartbeats within the time after which a worker is given up for lost


def split_address(address: str) -> tuple[str, int]:
    """Return host and port.

    Raises:
        UsageError: It is not HOST:PORT.
    """
    host, _, port = address.rpartition(":")
    if not host or not port.isdigit() or not 0 < int(port) < 65536:
        raise UsageError(f"--chief takes HOST:PORT, for instance 192.168.0.5:8000, not {address!r}")
    return host, int(port)


def serve(oracle: Oracle, address: str, lost_after: float) -> None:
    """Hand out trials until the search has ended and every worker knows.

    Args:
        address: HOST:PORT to listen at.
        lost_after: Seconds of silence after which a worker's trial is given to another.

    Raises:
        BloodkerasError: The address cannot be used, or the search failed.
    """
    # One thread, as KerasTuner has it: its lock goes by the names of threads.
    options = [("grpc.so_reuseport", 0)]  # a second chief there is refused
    server = grpc.server(futures.ThreadPoolExecutor(max_workers=1), options=options)
    protos.get_service_grpc().add_OracleServicer_to_server(OracleServicer(oracle), server)
    try:
        server.add_insecure_port("{}:{}".format(*split_address(address)))
    except RuntimeError:
        raise BloodkerasError(
            f"cannot listen at {address}: in use, or not of this machine"
        ) from None
    server.start()
    LOG.info(f"chief: listening at {address}; the search is kept in {oracle.file.parent}")
    try:
        while not oracle.finished():
            time.sleep(LOOK_SECONDS)
            for name in oracle.drop_silent(lost_after):
                LOG.warning(f"chief: nothing heard of worker {name} for {lost_after:g} s")
    finally:
        server.stop(grace=2).wait()


class Chief:
    """The chief's oracle, as a worker sees it.

    A chief that is started again within WAIT_SECONDS is waited for; one that does not answer for
    longer is a BloodkerasError.
    """

    def __init__(self, name: str, address: str) -> None:
        host, port = split_address(address)
        os.environ["KERASTUNER_ORACLE_IP"] = host
        os.environ["KERASTUNER_ORACLE_PORT"] = str(port)
        os.environ["KERASTUNER_TUNER_ID"] = name
        oracle_client.TIMEOUT = WAIT_SECONDS  # an hour otherwise
        self._client = oracle_client.OracleClient(None)
        self._address = address

    def __getattr__(self, name: str) -> Callable[..., Any]:
        call = getattr(self._client, name)

        def checked(*args: Any, **options: Any) -> Any:
            try:
                return call(*args, **options)
            except grpc.RpcError as error:
                raise BloodkerasError(
                    f"the chief at {self._address} does not answer ({error.code().name}): is "
                    "`tune MODEL --chief HOST:PORT` running there?"
                ) from None

        return checked

    @contextlib.contextmanager
    def beating(self, trial_id: str, lost_after: float) -> Iterator[None]:
        """Let the chief know, while the block runs, that this worker is alive."""
        done = threading.Event()

        def beat() -> None:
            while not done.wait(lost_after / BEATS):
                with contextlib.suppress(BloodkerasError):  # the next report will say so
                    self.get_trial(trial_id)

        threading.Thread(target=beat, name=f"heartbeat-{trial_id}", daemon=True).start()
        try:
            yield
        finally:
            done.set()
