"""What a server is told: which exports under which names, where it listens, and its limits.

Flow: takes the texts of the command line; gives an `Options`, which also travels to the worker
processes, as JSON in an environment variable.
"""

import ipaddress
import json
import re
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from bloodkeras.answers.prior import refuse_estimate
from bloodkeras.errors import BloodkerasError, UsageError, gist
from bloodkeras.images.framing import Framing

VARIABLE = "BLOODKERAS_SERVE"  # how a worker process learns its Options
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")  # what may stand in an address
FIRST_VERSION = "1"
ANY_ORIGIN = "*"
ORIGIN = re.compile(r"https?://[a-z0-9.-]+(:[0-9]+)?|https?://\[[0-9a-f:]+\](:[0-9]+)?")


@dataclass(frozen=True)
class Served:
    """One export and what it is called."""

    name: str
    version: str
    folder: str


@dataclass(frozen=True)
class Options:
    """Every setting of a server."""

    models: tuple[Served, ...]
    host: str = "127.0.0.1"  # nobody but this machine, unless told otherwise
    port: int = 8080  # 0: any that is free
    workers: int = 1  # processes, each with a session of its own for every model
    precision: str = "float32"
    batch: int = 64  # images that are handed to the network at once, at most
    wait_ms: float = 0.0  # how long an image may wait for others to join it
    queue: int = 128  # requests that a worker has taken and not answered, at most
    body_mb: float = 4.0  # of a request, in MiB: some 1,700 images in binary
    grace: float = 30.0  # seconds that requests have to end in when the server is stopped
    token_file: str = ""
    audit: str = ""
    cors: tuple[str, ...] = ()  # origins whose pages may ask; "*" for any
    classes: str = ""  # that can occur, separated by commas
    prior: str = ""  # a file, or blood
    microns_per_pixel: float = 0.0  # of photographs, where a request does not say it
    views: bool = False

    def to_text(self) -> str:
        """Return the settings as JSON."""
        return json.dumps(asdict(self))

    @classmethod
    def from_text(cls, text: str) -> "Options":
        """Return the settings that `to_text` wrote."""
        fields = json.loads(text)
        fields["models"] = tuple(Served(**model) for model in fields["models"])
        return cls(**fields | {"cors": tuple(fields["cors"])})


def read_models(text: str, folder_of: Callable[[str], str]) -> tuple[Served, ...]:
    """Return what `--model` names.

    Args:
        text: Exports separated by commas, each FOLDER, NAME=FOLDER or NAME:VERSION=FOLDER. Without
            a name it is called as its folder; without a version it is version 1.
        folder_of: Turns what stands for an export into its folder.

    Raises:
        UsageError: A name or version cannot stand in an address, or stands twice.
    """
    served: list[Served] = []
    for word in filter(None, text.split(",")):
        title, _, place = word.rpartition("=")
        folder = folder_of(place)
        name, _, version = (title or Path(folder).resolve().name).partition(":")
        version = version or FIRST_VERSION
        for part in (name, version):
            if not NAME.fullmatch(part):
                raise UsageError(
                    f"--model {word}: expected FOLDER, NAME=FOLDER or NAME:VERSION=FOLDER, with "
                    f"letters, digits, points, dashes in the name; found {part!r}"
                )
        if (name, version) in {(other.name, other.version) for other in served}:
            raise UsageError(
                f"--model names {name} version {version} twice: NAME:VERSION=FOLDER tells them "
                f"apart, such as {name}:2={folder}"
            )
        served.append(Served(name, version, folder))
    if not served:
        raise UsageError("--model needs an export: a name such as tiny, or a folder")
    return tuple(served)


def read_origins(text: str) -> tuple[str, ...]:
    """Return what `--cors` names.

    Args:
        text: Origins separated by commas, such as https://lab.example:8443, or * for any.

    Raises:
        UsageError: One is not an origin as browsers write it.
    """
    origins = tuple(filter(None, (word.strip() for word in text.split(","))))
    for origin in origins:
        if origin != ANY_ORIGIN and not ORIGIN.fullmatch(origin):
            raise UsageError(
                f"--cors {origin}: expected an origin as browsers write it, such as "
                "https://lab.example or http://localhost:3000, without a path; or * for any"
            )
    return origins


def check(options: Options) -> None:
    """Refuse settings that cannot be meant.

    Raises:
        UsageError: A number is out of its range.
    """
    ranges = {
        "port": (0, 65535),
        "workers": (1, 256),
        "batch": (1, 4096),
        "wait_ms": (0, 10_000),
        "queue": (1, 100_000),
        "body_mb": (0.01, 1024),
        "grace": (0, 3600),
    }
    for name, (least, most) in ranges.items():
        if not least <= (value := getattr(options, name)) <= most:
            option = name.replace("_", "-")
            raise UsageError(f"--{option}: expected {least} to {most}, found {value}")
    refuse_estimate(options.prior)
    Framing(options.microns_per_pixel)  # refuses what is not a scale
    if options.token_file and ANY_ORIGIN in options.cors:
        raise UsageError("--cors * with --token-file: name the origins that may hold the token")


def is_loopback(host: str) -> bool:
    """Return whether only this machine can reach a server that listens there."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def read_token(path: str) -> bytes:
    """Return the token of a file, b"" for no file.

    Raises:
        BloodkerasError: The file cannot be read, is empty, or holds more than one word.
    """
    if not path:
        return b""
    try:
        words = Path(path).read_bytes().split()
    except OSError as error:
        raise BloodkerasError(f"cannot read --token-file {path}: {gist(error)}") from None
    if len(words) != 1:
        raise BloodkerasError(f"--token-file {path}: expected one word, found {len(words)}")
    return words[0]
