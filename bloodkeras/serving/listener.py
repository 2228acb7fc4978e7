"""Opens a port, and heeds a stop from the moment that it is open.

Flow: takes a host and a port; gives a socket; runs a server on it until Ctrl-C or SIGTERM.
"""

import errno
import logging
import signal
import socket
from collections.abc import Callable
from typing import Any

import uvicorn

from bloodkeras.errors import BloodkerasError, gist


def listen(host: str, port: int) -> socket.socket:
    """Return a socket that listens.

    Raises:
        BloodkerasError: The host is unknown, or the port is taken or not allowed.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        listener = socket.create_server((host, port), family=family, backlog=2048)
    except OSError as error:
        reason = gist(error).split(" (while")[0]  # what follows names host and port once more
        is_port = error.errno in (errno.EADDRINUSE, errno.EACCES)
        remedy = (
            "--port 0 takes any that is free"
            if is_port
            else "--host takes a name or an address of this machine; without it, 127.0.0.1"
        )
        raise BloodkerasError(f"cannot listen on {host} port {port} ({reason}): {remedy}") from None
    listener.set_inheritable(True)
    # What it accepts inherits it: asyncio overlooks sockets that were made elsewhere, and an answer
    # in two parts would wait 40 ms for the client's word that the first has come.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listener


def quiet_config(app: Any, **settings: Any) -> uvicorn.Config:
    """Return uvicorn's settings for an application, without a log or its name in every answer."""
    logging.getLogger("uvicorn").setLevel(logging.CRITICAL)
    return uvicorn.Config(app, log_config=None, access_log=False, server_header=False, **settings)


def address(listener: socket.socket) -> str:
    """Return the address of a socket as a browser takes it."""
    host, port = listener.getsockname()[:2]
    return f"http://{f'[{host}]' if ':' in host else host}:{port}"


def run_until_stopped(
    run: Callable[..., Any], stop: Callable[..., Any], announce: Callable[..., Any]
) -> None:
    """Run a server until Ctrl-C or SIGTERM.

    Args:
        run: Serves, and returns once it was stopped.
        stop: Takes a signal's number and frame, and makes `run` return.
        announce: Says the address. It is called once a stop would be heeded, because whoever
            reads the address may stop the server at once.

    Raises:
        KeyboardInterrupt: It was Ctrl-C, after `run` returned.
    """
    came = []  # uvicorn, which has handlers too, raises what it caught again when it is through

    def handle(number: int, frame: object) -> None:
        came.append(number)
        stop(number, frame)

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, handle)
    announce()
    run()
    if signal.SIGINT in came:
        raise KeyboardInterrupt
