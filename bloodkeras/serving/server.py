"""Listens, starts workers, and ends tidily.

Flow: takes an `Options`; returns when the server was stopped.
"""

import logging
import os
import signal
import socket
import sys
import tempfile
from functools import partial

import uvicorn
from uvicorn.supervisors import Multiprocess

from bloodkeras.errors import BloodkerasError, gist
from bloodkeras.serving.options import VARIABLE, Options, is_loopback

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
    with tempfile.TemporaryDirectory(prefix="bloodkeras-metrics-") as folder:
        if options.workers > 1:  # their counters meet in files; to be said before they are made
            os.environ["PROMETHEUS_MULTIPROC_DIR"] = folder
        from bloodkeras.serving.app import build

        app = build(options)  # here too with workers: what is wrong is said once, and now
        listener = _listen(options)
        settings = {
            "log_config": None,
            "access_log": False,
            "server_header": False,
            "workers": options.workers,
            "timeout_graceful_shutdown": options.grace,
            "timeout_keep_alive": KEEP_ALIVE,
        }
        logging.getLogger("uvicorn").setLevel(logging.CRITICAL)
        if options.workers == 1:
            server = uvicorn.Server(uvicorn.Config(app, **settings))
            run, stop = partial(server.run, [listener]), server.handle_exit
        else:
            del app
            os.environ[VARIABLE] = options.to_text()
            config = uvicorn.Config("bloodkeras.serving.app:build", factory=True, **settings)
            supervisor = Multiprocess(config, [listener])
            run, stop = supervisor.run, lambda number, frame: supervisor.should_exit.set()
        # Before the address is said: who reads it may stop the server at once.
        stopped_by = _stop_with(stop)
        _announce(options, listener)
        run()
        if signal.SIGINT in stopped_by:
            raise KeyboardInterrupt


def _stop_with(stop) -> list[int]:
    """Let Ctrl-C and SIGTERM call a function of a signal's number and frame.

    Returns:
        A list that the signals that came are added to. (uvicorn has handlers too, and raises what
        it caught again when it is through: that is noted here as well.)
    """
    came = []

    def handle(number, frame):
        came.append(number)
        stop(number, frame)

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, handle)
    return came


def _listen(options: Options) -> socket.socket:
    family = socket.AF_INET6 if ":" in options.host else socket.AF_INET
    try:
        listener = socket.create_server((options.host, options.port), family=family, backlog=2048)
    except OSError as error:
        named = isinstance(error, socket.gaierror) or not error.errno
        reason = gist(error) if named else os.strerror(error.errno)
        raise BloodkerasError(
            f"cannot listen on {options.host} port {options.port} ({reason}): --port 0 takes any "
            "that is free"
        ) from None
    listener.set_inheritable(True)
    return listener


def _announce(options: Options, listener: socket.socket) -> None:
    """Say where, what, and who can ask."""
    host, port = listener.getsockname()[:2]
    address = f"http://{f'[{host}]' if ':' in host else host}:{port}"
    names = ", ".join(f"{model.name} (version {model.version})" for model in options.models)
    print(f"{address} serves {names}; Ctrl-C stops it", flush=True)
    if not is_loopback(options.host) and not options.token_file:
        print(
            f"bloodkeras: {options.host} can be reached from other machines, and anybody may ask: "
            "--token-file FILE asks for a token",
            file=sys.stderr,
        )
