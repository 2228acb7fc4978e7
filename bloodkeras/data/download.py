"""Fetches a data set of MedMNIST where MedMNIST itself keeps it.

Flow: takes a `DataSet`; gives the path of a file with its MD5, from the cache or from Zenodo.
Sources: URL and MD5 from the `DataSet`. Zenodo answers nameless scripts with 429 and goes down at
    times (MedMNIST#21, #22): hence the name, the retries, and a message that helps by hand.
"""

import hashlib
from functools import partial
from pathlib import Path

from bloodkeras import __version__, contract
from bloodkeras.bloodmnist import BLOODMNIST
from bloodkeras.dataset import DataSet
from bloodkeras.errors import BloodkerasError, missing_package

TRIES = 5  # on 429, 5xx and lost connections
CONNECT_TRIES = 2  # a host that is out of reach stays so; a busy one recovers
BACKOFF_S = 2.0  # waits 0, 4, 8, 16 ... seconds, or what the server asks for
PATIENCE_S = 120  # the longest wait a server may ask for
TIMEOUT_S = 20


class DownloadError(BloodkerasError):
    """The data set is not here and cannot be downloaded."""


def cached_or_downloaded(dataset: DataSet = BLOODMNIST) -> Path:
    """Return the path of MedMNIST's own file, downloading it where it is missing.

    Raises:
        DownloadError: The download failed; nothing is left behind.
        BloodkerasError: Another file has its place. It is somebody's, so it is not overwritten.
    """
    path = Path(contract.DATA_CACHE).expanduser() / dataset.file_name
    if path.exists():
        _check_md5(path, dataset.md5)
        return path
    try:
        import pooch
    except ImportError:
        raise missing_package("pooch", "train") from None
    try:
        pooch.retrieve(
            dataset.url,
            known_hash=f"md5:{dataset.md5}",
            fname=path.name,
            path=path.parent,
            downloader=_download,
        )
    except Exception as error:  # requests', urllib3's and pooch's errors share no useful base
        raise DownloadError(
            f"{dataset.name} is not here and its download failed ({_gist(error)}): fetch "
            f"{dataset.url} (MD5 {dataset.md5}) by hand and put it at {path}, or name "
            f"your copy with --data FILE or {contract.DATA_VARIABLE}; --data synthetic needs none"
        ) from None
    return path


def _download(url: str, output_file: str, _pooch: object) -> None:
    """Download with retries; pooch hands a temporary file and moves it when its MD5 is right."""
    import requests
    import tqdm
    from requests.adapters import HTTPAdapter
    from urllib3.util import Retry

    retry = Retry(
        total=TRIES,
        connect=CONNECT_TRIES,
        backoff_factor=BACKOFF_S,
        status_forcelist=(429, 500, 502, 503, 504),
        retry_after_max=PATIENCE_S,
    )
    session = requests.Session()
    for scheme in ("https://", "http://"):
        session.mount(scheme, HTTPAdapter(max_retries=retry))
    headers = {"User-Agent": f"bloodkeras/{__version__} (MedMNIST; python-requests)"}
    with session.get(url, headers=headers, stream=True, timeout=TIMEOUT_S) as response:
        response.raise_for_status()
        size = int(response.headers.get("Content-Length", 0)) or None
        with (
            open(output_file, "wb") as file,
            tqdm.tqdm(
                total=size, unit="B", unit_scale=True, desc=url.split("?")[0].rpartition("/")[2]
            ) as bar,
        ):
            for chunk in response.iter_content(chunk_size=1 << 16):
                file.write(chunk)
                bar.update(len(chunk))


def _check_md5(path: Path, expected: str) -> None:
    try:
        with path.open("rb") as file:
            new = partial(hashlib.md5, usedforsecurity=False)
            found = hashlib.file_digest(file, new).hexdigest()
    except OSError as error:
        raise BloodkerasError(
            f"cannot read {path}: {error.strerror}; move it away, or name another file with "
            f"--data FILE or {contract.DATA_VARIABLE}"
        ) from None
    if found != expected:
        raise BloodkerasError(
            f"{path} is not MedMNIST's file: its MD5 is {found}, expected {expected}; "
            f"move it away to have it downloaded, or use it as it is with --data {path}"
        )


def _gist(error: Exception) -> str:
    """Return the gist of a network error, whose text may span lines; its end names the cause."""
    text = f"{type(error).__name__}: {error}".splitlines()[0]
    return text if len(text) <= 120 else f"{text[:47]}...{text[-70:]}"
