"""Checks the download against a server on this machine that misbehaves as Zenodo does.

Flow: takes a list of answers; gives a failure when a file is half there, foreign, or overwritten.
"""

import dataclasses
import hashlib
import socket
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from bloodkeras import contract
from bloodkeras.bloodmnist import BLOODMNIST
from bloodkeras.data import download
from bloodkeras.data.download import DownloadError, cached_or_downloaded
from bloodkeras.dataset import DataSet
from bloodkeras.errors import BloodkerasError

CONTENT = bytes(range(256)) * 1000  # 256 kB: several chunks
CUT = "cut"  # an answer of half the content, then silence


class Server:
    """A loopback server that gives the listed answers in turn, and the last one ever after."""

    def __init__(self):
        self.answers: list = [200]
        self.content = CONTENT
        self.user_agents: list[str] = []
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                server.answer(self)

            def log_message(self, *args):
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        url = f"http://127.0.0.1:{self.http.server_port}/bloodmnist.npz?download=1"
        md5 = hashlib.md5(CONTENT).hexdigest()
        self.dataset = dataclasses.replace(BLOODMNIST, url=url, md5=md5)
        threading.Thread(target=self.http.serve_forever, args=(0.01,), daemon=True).start()

    def answer(self, request) -> None:
        """Send one answer."""
        asked = len(self.user_agents)
        self.user_agents.append(request.headers["User-Agent"])
        answer = self.answers[min(asked, len(self.answers) - 1)]
        status, body = (200, self.content) if answer in (200, CUT) else (answer, b"busy")
        request.send_response(status)
        request.send_header("Content-Length", str(len(body)))
        request.end_headers()
        request.wfile.write(body[: len(body) // 2] if answer == CUT else body)


@pytest.fixture
def server():
    """A server that is closed after the test."""
    server = Server()
    yield server
    server.http.shutdown()
    server.http.server_close()


@pytest.fixture
def cache(tmp_path, monkeypatch, server):
    """MedMNIST's cache, moved to an empty folder that does not exist yet, and no waiting."""
    folder = tmp_path / "home" / ".medmnist"
    monkeypatch.setattr(contract, "DATA_CACHE", str(folder))
    monkeypatch.setattr(download, "BACKOFF_S", 0.0)
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    return folder


def left_in(folder) -> list[str]:
    """Return the names of everything in a folder, which may be missing."""
    return sorted(path.name for path in folder.rglob("*"))


def failure(dataset: DataSet) -> str:
    """Return the one line with which a download fails; it must help by hand."""
    with pytest.raises(DownloadError) as caught:
        cached_or_downloaded(dataset)
    message = str(caught.value)
    assert "\n" not in message
    target = f"{contract.DATA_CACHE}/{dataset.file_name}"
    for help_by_hand in (dataset.url, dataset.md5, target, contract.DATA_VARIABLE):
        assert help_by_hand in message
    return message


@pytest.mark.parametrize("answers", [[200], [429, 503, 200], [500, 502, 504, 200]])
def test_busy_server_is_asked_again(server, cache, answers):
    """The file arrives whole under MedMNIST's name, and nothing else with it."""
    server.answers = answers
    path = cached_or_downloaded(server.dataset)
    assert path == cache / "bloodmnist.npz"
    assert path.read_bytes() == CONTENT
    assert left_in(cache) == ["bloodmnist.npz"]
    assert len(server.user_agents) == len(answers)


def test_we_say_who_we_are(server, cache):
    """Zenodo answers nameless scripts with 429: every request names bloodkeras."""
    server.answers = [429, 200]
    cached_or_downloaded(server.dataset)
    assert len(server.user_agents) == 2
    assert all(agent.startswith("bloodkeras/") for agent in server.user_agents)


def test_second_call_does_not_ask_again(server, cache):
    """A file in the cache with the right MD5 is used as it is."""
    first = cached_or_downloaded(server.dataset)
    assert cached_or_downloaded(server.dataset) == first
    assert len(server.user_agents) == 1


def test_wrong_md5_leaves_nothing(server, cache):
    """Other bytes than MedMNIST's are not kept."""
    server.content = CONTENT[:-1] + b"\0"
    failure(server.dataset)
    assert left_in(cache) == []


def test_ever_busy_server_is_given_up(server, cache):
    """One request and five retries, then a message that says why."""
    server.answers = [503]
    message = failure(server.dataset)
    assert len(server.user_agents) == 1 + 5
    assert "too many 503 error responses" in message
    assert left_in(cache) == []


def test_missing_file_is_not_asked_for_again(server, cache):
    """404 stays 404."""
    server.answers = [404]
    assert "404 Client Error" in failure(server.dataset)
    assert len(server.user_agents) == 1
    assert left_in(cache) == []


def test_refused_connection(cache):
    """Without a server the message tells what to fetch, and where to put it."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
    dataset = dataclasses.replace(BLOODMNIST, url=f"http://127.0.0.1:{port}/bloodmnist.npz")
    assert "refused" in failure(dataset)  # Windows says it at greater length
    assert left_in(cache) == []


def test_cut_connection_leaves_no_half_file(server, cache):
    """A connection that breaks off midway, every time, leaves nothing that looks like data."""
    server.answers = [CUT]
    failure(server.dataset)
    assert left_in(cache) == []


def test_next_try_after_a_cut_connection_succeeds(server, cache):
    """Whether it is retried at once or by the user: in the end the file is whole."""
    server.answers = [CUT, 200]
    try:
        path = cached_or_downloaded(server.dataset)
    except DownloadError:
        path = cached_or_downloaded(server.dataset)
    assert path.read_bytes() == CONTENT
    assert left_in(cache) == ["bloodmnist.npz"]


def test_foreign_file_is_not_overwritten(server, cache):
    """What lies in the cache is somebody's: it is refused, kept, and nothing is asked."""
    cache.mkdir(parents=True)
    (cache / "bloodmnist.npz").write_bytes(b"somebody's")
    with pytest.raises(BloodkerasError, match="is not MedMNIST's file") as caught:
        cached_or_downloaded(server.dataset)
    assert not isinstance(caught.value, DownloadError)  # "auto" must not hide it
    assert "\n" not in str(caught.value)
    assert (cache / "bloodmnist.npz").read_bytes() == b"somebody's"
    assert server.user_agents == []


def test_cache_that_cannot_be_made(server, cache):
    """A file where the folder should be: told in one line, and the file is kept."""
    cache.parent.mkdir()
    cache.write_bytes(b"in the way")
    failure(server.dataset)
    assert cache.read_bytes() == b"in the way"


def test_folder_in_the_files_place(server, cache):
    """A folder under the file's name is told in one line, and kept."""
    (cache / "bloodmnist.npz").mkdir(parents=True)
    with pytest.raises(BloodkerasError, match=r"bloodmnist\.npz"):
        cached_or_downloaded(server.dataset)
    assert left_in(cache) == ["bloodmnist.npz"]
