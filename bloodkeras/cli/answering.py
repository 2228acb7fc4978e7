"""The commands that answer images with an export: here, by the million, over HTTP, in a page.

None needs TensorFlow. Each imports its step inside the function, so that `--help` stays quick.
"""

from dataclasses import asdict
from typing import Annotated

from bloodkeras.answers.exports import DEFAULTS, default_export, find_export
from bloodkeras.cli.opening import check_port, need
from bloodkeras.cli.options import Asking, Export, Host, Port, export_folder
from bloodkeras.errors import UsageError
from bloodkeras.interrupts import heed_stops

Images = Annotated[
    str,
    "Files, folders (searched to any depth), globs, arrays (.npy or .npz of uint8), or - for "
    "a list of paths on standard input. Images of the network's size are taken as they are, "
    "photographs are cropped. Every page of a TIFF or an animation is an image.",
]


def predict(
    *images: Images,
    model: Export = "",
    out: str = "",
    format: str = "",
    resume: bool = False,
    sort_into: str = "",
    report: str = "",
    asking: Asking = Asking(),  # noqa: B008 (frozen)
) -> None:
    """Classify images with an exported model: label, confidence, probabilities, verdict.

    The verdict is accepted, unsure (too close to call) or foreign (probably no such cell). An
    image that cannot be read has an error instead; all others are answered, and the exit status
    is 1. An error beside a label is why that is unsure: the photograph's framing is in doubt.

    Args:
        model: By default robust-64; residual where all images have 28 pixels already, and
            residual-64 where all have 64.
        out: Write a table instead of printing one: .csv, .jsonl or .parquet (needs pyarrow).
            Beside it, <out>.origin.json says which model wrote it.
        format: csv, jsonl or parquet, where the suffix of out does not say it or there is no out.
        resume: Go on with the table in out after an interruption. Give the same images again.
        sort_into: Copy the images into class folders, unsure/ and foreign/ below this folder;
            nothing is overwritten.
        report: Write one HTML page: counts, and the most doubtful images of each class.
    """
    from bloodkeras.answers import predict as step

    if not images:
        raise UsageError("predict needs at least one image file or folder")
    folder = model and export_folder(model)
    step.score(images, folder, out, format, resume, sort_into, report, **asdict(asking))


def score(
    source: str,
    *,
    out: str,
    model: Export = "",
    engine: str = "local",
    address: str = "",
    partition_images: int = 10_000,
    batch: int = 64,
    workers: int = 0,
    asking: Asking = Asking(),  # noqa: B008 (frozen)
) -> None:
    """Classify millions of images into a folder of Parquet files, here or on a Ray cluster.

    The answers are those of `predict`, a file for each 10,000 images. The same command goes on
    with a job that was stopped; what is finished is not done again (docs/scoring.md). Needs the
    extra parquet, and for --engine ray the extra ray.

    Args:
        source: A folder of images (searched to any depth), or a Parquet file, or a folder of them,
            with a column image of files (binary) or raw pixels (fixed_size_binary, uint8 of the
            network's size); a column path or id names the rows.
        out: The folder of the answers.
        model: By default robust-64; residual where all images have 28 pixels already, and
            residual-64 where all have 64.
        engine: local: this machine; ray: a session on every core of a cluster, and a lost worker
            costs a retry.
        address: Of a running Ray cluster; default: RAY_ADDRESS, or else one on this machine.
        partition_images: Images of a file: what is lost at most when a worker is.
        batch: Images that go through the network together.
        workers: Processes; default: local one with all cores, ray one for every core.
    """
    from dataclasses import replace

    from bloodkeras.scoring.command import Options, check, score_source

    places = source, out, model, engine, address, partition_images
    options = Options(*places, batch=batch, workers=workers, **asdict(asking))
    check(options)
    heed_stops()
    score_source(replace(options, model=model and export_folder(model)))


def serve(
    *,
    model: str = "",
    host: Host = "127.0.0.1",
    port: Port = 8080,
    workers: int = 1,
    batch: int = 64,
    wait_ms: float = 0,
    queue: int = 128,
    body_mb: float = 4,
    token_file: str = "",
    cors: str = "",
    audit: str = "",
    grace: float = 30,
    asking: Asking = Asking(),  # noqa: B008 (frozen)
) -> None:
    """Serve exported models over HTTP: the Open Inference Protocol v2, and /metrics.

    Clients of the protocol, such as tritonclient, send uint8 images or whole photographs to
    /v2/models/NAME/infer. What a request says of its own microns per pixel counts there.
    Ctrl-C or SIGTERM stops it after the last answer (docs/serving.md). Needs the extra serve.

    Args:
        model: Exports separated by commas: FOLDER, NAME=FOLDER or NAME:VERSION=FOLDER, each FOLDER
            a published name or a folder, as in `predict`. By default robust-64, for photographs,
            residual, for images of 28 pixels, and residual-64.
        workers: Processes, each with its own session of every model.
        batch: Images that go through a network together, at most.
        wait_ms: How long an image waits for others to join it; 0: only while the network is busy.
        queue: Requests that a worker takes before it has answered; more get a 503.
        body_mb: MiB of a request, at most; longer ones get a 413.
        token_file: A file with one word that clients must send as Authorization: Bearer.
        cors: Origins whose web pages may ask, separated by commas, such as https://lab.example; *
            for any. By default no page of another origin may.
        audit: Add a line a request here: time, model, SHA-256 of the images, answers; no image.
        grace: Seconds that taken requests have to end in when the server is stopped.
    """
    from bloodkeras.serving.options import Options, check, read_models, read_origins

    need("serve", "fastapi", "uvicorn", "orjson", "prometheus_client")
    defaults = ",".join(f"{name}={default_export(kind)}" for kind, name in DEFAULTS.items())
    options = Options(
        read_models(
            model or defaults,
            lambda word: str(find_export(word)),
        ),
        host,
        port,
        workers,
        batch=batch,
        wait_ms=wait_ms,
        queue=queue,
        body_mb=body_mb,
        grace=grace,
        token_file=token_file,
        audit=audit,
        cors=read_origins(cors),
        **asdict(asking),
    )
    check(options)
    from bloodkeras.serving.server import serve as run_server

    run_server(options)


def demo(
    *,
    model: Export = "",
    host: Host = "127.0.0.1",
    port: Port = 7860,
    asking: Asking = Asking(),  # noqa: B008 (frozen)
) -> None:
    """Show a page to try a model on: photographs in, label, verdict and what it looked at out.

    It works without internet (docs/demo.md). Ctrl-C or SIGTERM stops it. Needs the extra demo.

    Args:
        model: By default robust-64.
    """
    need("demo", "gradio", "onnx")
    check_port(port)
    from bloodkeras.demo.server import demo as run_demo

    run_demo(export_folder(model), host, port, **asdict(asking))
