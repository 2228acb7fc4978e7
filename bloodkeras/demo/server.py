"""Serves the page, on this machine only unless told otherwise.

Flow: takes an export and an address; returns when it was stopped.
"""

import logging
import os
import socket
import tempfile
from functools import partial
from pathlib import Path
from typing import Any

import gradio as gr
import uvicorn
from fastapi import FastAPI
from PIL import Image

from bloodkeras.bloodmnist import bloodmnist
from bloodkeras.demo.explain import Explainer
from bloodkeras.demo.page import build_page
from bloodkeras.demo.tile import STYLE
from bloodkeras.images.synthetic import draw_arrays
from bloodkeras.serving.listener import address, listen, quiet_config, run_until_stopped
from bloodkeras.serving.options import is_loopback

LOG = logging.getLogger(__name__)

FONTS = ["system-ui", "sans-serif"]  # of the machine: nothing is fetched from elsewhere
MOST_BYTES = "100mb"  # of a file
GRACE = 2  # seconds for what is being answered when it is stopped


def demo(folder: str, host: str, port: int, **asking: Any) -> None:
    """Serve the page until Ctrl-C or SIGTERM.

    Args:
        folder: Of an export.
        host: Where to listen.
        port: 0 takes any that is free.
        asking: As `Explainer` takes it.

    Raises:
        BloodkerasError: The export cannot be used, or the port is taken.
        KeyboardInterrupt: Ctrl-C.
    """
    explainer = Explainer(folder, **asking)
    side = explainer.classifier.dataset.image_side
    listener = listen(host, port)
    with tempfile.TemporaryDirectory(prefix="bloodkeras-demo-") as scratch:
        os.environ["GRADIO_TEMP_DIR"] = scratch  # what was uploaded goes with it
        page = build_page(explainer, draw_examples(Path(scratch), side))
        app = gr.mount_gradio_app(
            FastAPI(openapi_url=None),
            page,
            "/",
            css=STYLE,
            footer_links=[],
            ssr_mode=False,
            max_file_size=MOST_BYTES,
            show_error=False,
            enable_monitoring=False,
            theme=gr.themes.Base(font=FONTS, font_mono=["monospace"]),
            allowed_paths=[scratch],
        )
        server = uvicorn.Server(quiet_config(app, timeout_graceful_shutdown=GRACE))
        announce = partial(_announce, listener, host, folder)
        run_until_stopped(partial(server.run, [listener]), server.handle_exit, announce)


def draw_examples(folder: Path, side: int) -> list[str]:
    """Draw one blood cell of each kind into a folder; return the files.

    Args:
        folder: Where.
        side: Of the network's images, in pixels.
    """
    arrays = draw_arrays({"train": 8, "val": 8, "test": 400}, dataset=bloodmnist(side))
    labels = arrays["test_labels"].ravel()
    paths = []
    for k in range(labels.max() + 1):
        image = arrays["test_images"][int((labels == k).argmax())]
        paths.append(str(folder / f"drawn-{k}.png"))
        Image.fromarray(image).save(paths[-1])
    return paths


def _announce(listener: socket.socket, host: str, folder: str) -> None:
    print(f"{address(listener)} shows {folder}; Ctrl-C stops it", flush=True)
    if not is_loopback(host):
        LOG.warning(f"{host} can be reached from other machines, and anybody may look")
