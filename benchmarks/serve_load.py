"""How much of the bare network's speed is left behind `bloodkeras serve`, on loopback.

    .venv/bin/python benchmarks/serve_load.py --model exports/residual

Bare onnxruntime in a loop, the server, and the server without batching, side by side: requests
and images a second, milliseconds at 1, 8 and 64 clients; then at half the load, then a minute of
far too much. The clients run on the same cores as the server, and take their share of them.
"""

import argparse
import asyncio
import json
import socket
import subprocess
import sys
import time
from collections import Counter

import numpy as np

from bloodkeras.answers.classifier import Classifier
from bloodkeras.bloodmnist import BLOODMNIST

CLIENTS = (1, 8, 64)


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="exports/residual")
    parser.add_argument("--images", type=int, nargs="+", default=[1, 16], help="of a request")
    parser.add_argument("--seconds", type=float, default=5, help="of each measurement")
    parser.add_argument("--overload", type=float, default=60, help="seconds of too much")
    parser.add_argument("--rounds", type=int, default=3)
    asked = parser.parse_args()
    print(f"{asked.model}; median of {asked.rounds} rounds; bare: onnxruntime in a loop")
    for images in asked.images:
        compare(asked, images)
    overload(asked)


def compare(asked, images: int) -> None:
    """Print what is left with requests of so many images."""
    request = request_of(images)
    found: dict[tuple, list] = {}
    for _ in range(asked.rounds):
        found.setdefault(("bare",), []).append((bare(asked.model, images, asked.seconds), None))
        for name, options in {"server": (), "without batching": ("--batch", "1")}.items():
            with Server(asked.model, *options) as port:
                for clients in CLIENTS:
                    rate, count, waits = asyncio.run(load(port, request, clients, asked.seconds))
                    assert set(count) == {200}, count
                    found.setdefault((name, clients), []).append((rate, waits))
    bare_rate = np.median([rate for rate, _ in found[("bare",)]])
    print(f"\nrequests of {images} image{'s' * (images > 1)}")
    print(f"{'':28}requests/s  images/s  of bare  p50 ms  p95 ms  p99 ms")
    print(f"{'bare':28}{bare_rate:10,.0f}{bare_rate * images:10,.0f}")
    for key, values in found.items():
        if key != ("bare",):
            rate = np.median([rate for rate, _ in values])
            quantiles = np.percentile(np.concatenate([waits for _, waits in values]), (50, 95, 99))
            name = f"{key[0]}, {key[1]} client{'s' * (key[1] > 1)}"
            cells = "".join(f"{value * 1000:8.1f}" for value in quantiles)
            print(f"{name:28}{rate:10,.0f}{rate * images:10,.0f}{rate / bare_rate:9.0%}{cells}")
    most = max(np.median([r for r, _ in v]) for k, v in found.items() if k[0] == "server")
    with Server(asked.model) as port:
        waits = asyncio.run(paced(port, request, most / 2, asked.seconds * 2))
    cells = "".join(f"{value * 1000:8.1f}" for value in np.percentile(waits, (50, 95, 99)))
    name, rate = "server, at half of its most", most / 2
    print(f"{name:28}{rate:10,.0f}{rate * images:10,.0f}{'':9}{cells}")


def overload(asked) -> None:
    """Print what a minute of four times as many clients as the queue holds does."""
    request = request_of(1)
    with Server(asked.model, "--queue", "16") as port:
        before = asyncio.run(load(port, request, 8, asked.seconds))
        _, during, _ = asyncio.run(load(port, request, 64, asked.overload, patience=0.05))
        after = asyncio.run(load(port, request, 8, asked.seconds))
    print(f"\n{asked.overload:.0f} s of 64 clients where the queue holds 16: ", end="")
    print(", ".join(f"{count:,} times {status}" for status, count in sorted(during.items())))
    for name, (rate, _, waits) in {"before": before, "after": after}.items():
        print(f"{name}: {rate:,.0f} requests/s, p99 {np.percentile(waits, 99) * 1000:.1f} ms")


def request_of(images: int) -> bytes:
    """Return a whole HTTP request with so many random images in binary."""
    pixels = np.random.default_rng(0).integers(0, 256, (images, *BLOODMNIST.image_shape), np.uint8)
    tensor = {
        "name": "images",
        "shape": list(pixels.shape),
        "datatype": "UINT8",
        "parameters": {"binary_data_size": pixels.size},
    }
    fields = {
        "inputs": [tensor],
        "outputs": [{"name": "probs", "parameters": {"binary_data": True}}],
    }
    text = json.dumps(fields).encode()
    body = text + pixels.tobytes()
    head = (
        "POST /v2/models/asked/infer HTTP/1.1\r\nHost: localhost\r\n"
        f"Inference-Header-Content-Length: {len(text)}\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


class Server:
    """A server in a process of its own; entered, it gives its port."""

    def __init__(self, model: str, *options: str):
        self._words = [
            sys.executable,
            "-m",
            "bloodkeras",
            "serve",
            "--port",
            "0",
            "--model",
            f"asked={model}",
            *options,
        ]

    def __enter__(self) -> int:
        self._process = subprocess.Popen(self._words, stdout=subprocess.PIPE, encoding="utf-8")
        return int(self._process.stdout.readline().split(" ")[0].rsplit(":", 1)[1])

    def __exit__(self, *error) -> None:
        self._process.terminate()
        self._process.wait()


def bare(model: str, images: int, seconds: float) -> float:
    """Return how many requests' worth of images a second the network answers by itself."""
    network = Classifier.load(model)
    pixels = np.random.default_rng(0).integers(0, 256, (images, *BLOODMNIST.image_shape), np.uint8)
    network.answer(pixels)
    count, start = 0, time.perf_counter()
    while (passed := time.perf_counter() - start) < seconds:
        network.answer(pixels)
        count += 1
    return count / passed


async def ask(reader, writer, request: bytes) -> int:
    """Send one request, read the answer, return its status."""
    writer.write(request)
    head = await reader.readuntil(b"\r\n\r\n")
    lines = head.split(b"\r\n")
    fields = dict(line.lower().split(b": ", 1) for line in lines[1:] if line)
    await reader.readexactly(int(fields[b"content-length"]))
    return int(lines[0].split(b" ")[1])


async def load(port: int, request: bytes, clients: int, seconds: float, patience: float = 0):
    """Ask as fast as so many clients can; return answers a second, statuses, seconds of each.

    Args:
        port: Of the server.
        request: What is sent.
        clients: Each waits for its answer, then asks again.
        seconds: How long.
        patience: Seconds that a client waits after a 503.
    """
    count, waits, begin = Counter(), [], time.perf_counter()
    end = begin + seconds

    async def client():
        streams = None
        while (start := time.perf_counter()) < end:
            if streams is None:
                streams = await asyncio.open_connection("127.0.0.1", port)
            status = await ask(*streams, request)
            count[status] += 1
            if status == 200:
                waits.append(time.perf_counter() - start)
            else:  # the server closes the connection
                streams[1].close()
                streams = None
                await asyncio.sleep(patience)
        if streams:
            streams[1].close()

    await asyncio.gather(*(client() for _ in range(clients)))
    return count[200] / (time.perf_counter() - begin), count, np.array(waits)


async def paced(port: int, request: bytes, rate: float, seconds: float) -> np.ndarray:
    """Ask at a steady rate, whether answers come or not; return the seconds of each answer."""
    free, waits, running = [], [], set()
    start, sent = time.perf_counter(), 0

    async def one(due: float):
        streams = free.pop() if free else await asyncio.open_connection("127.0.0.1", port)
        streams[1].get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        assert await ask(*streams, request) == 200
        waits.append(time.perf_counter() - due)
        free.append(streams)

    while (due := start + sent / rate) < start + seconds:
        await asyncio.sleep(max(0, due - time.perf_counter()))
        task = asyncio.create_task(one(due))
        running.add(task)
        task.add_done_callback(running.discard)
        sent += 1
    await asyncio.gather(*running)
    return np.array(waits)


if __name__ == "__main__":
    main()
