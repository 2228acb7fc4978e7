"""Listens, starts workers, and ends tidily.

Flow: takes an `Options`; returns when the server was stopped.
"""

import logging
import os
import socket
import tempfile
from collections.abc import Callable
from functools import partial
from types import FrameType

import uvicorn
from uvicorn.supervisors import Multiprocess

from bloodkeras.answers.classifier import advise
from bloodkeras.named_types import Json
from bloodkeras.serving.listener import address, listen, quiet_config, run_until_stopped
from bloodkeras.serving.options import VARIABLE, Options, is_loopback

LOG = logging.getLogger(__name__)

# Seconds that an idle connection is held. uvicorn's 5 close those that a client keeps for its next
# request, just as it sends one.
KEEP_ALIVE = 75


def serve(options: Options) -> None:
    """Serve until Ctrl-C or SIGTERM; requests that were taken are answered first.

    Args:
        options: Every setting.

    Raises:
        BloodkerasError: An export, the token or the audit log cannot be used, or the port is taken.
        KeyboardInterrupt: Ctrl-C, after the last answer.
    """
    # On Windows the counters' files cannot be removed while this process has them open.
    with tempfile.TemporaryDirectory(
        prefix="bloodkeras-metrics-", ignore_cleanup_errors=True
    ) as folder:
        if options.workers > 1:  # their counters meet in files; to be said before they are made
            os.environ["PROMETHEUS_MULTIPROC_DIR"] = folder
        from bloodkeras.serving.app import build

        app = build(options)  # here too with workers: what is wrong is said once, and now
        listener = listen(options.host, options.port)
        settings: Json = {
            "workers": options.workers,
            "timeout_graceful_shutdown": options.grace,
            "timeout_keep_alive": KEEP_ALIVE,
        }
        if options.workers == 1:
            server = uvicorn.Server(quiet_config(app, **settings))
            run: Callable[[], None] = partial(server.run, [listener])
            stop: Callable[[int, FrameType | None], None] = server.handle_exit
        else:
            del app
            os.environ[VARIABLE] = options.to_text()
            config = quiet_config("bloodkeras.serving.app:build", factory=True, **settings)
            supervisor = Multiprocess(config, [listener])
            run = supervisor.run
            stop = lambda number, frame: supervisor.should_exit.set()  # noqa: E731
        run_until_stopped(run, stop, partial(_announce, options, listener))


def _announce(options: Options, listener: socket.socket) -> None:
    """Say where, what, and who can ask."""
    names = ", ".join(f"{model.name} (version {model.version})" for model in options.models)
    print(f"{address(listener)} serves {names}; Ctrl-C stops it", flush=True)
    for model in options.models:
        advise(model.folder, options.precision)
    if not is_loopback(options.host) and not options.token_file:
        LOG.warning(
            f"{options.host} can be reached from other machines, and anybody may ask: "
            "--token-file FILE asks for a token"
        )
