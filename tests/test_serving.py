"""The server: the protocol as others' clients speak it; what is malformed, too much, unwelcome."""

import asyncio
import http.client
import json
import os
import random
import signal
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("fastapi", reason="needs the extra serve: pip install 'bloodkeras[serve]'")
pytest.importorskip("tritonclient", reason="needs tritonclient[http], of the group dev")
import psutil
import tritonclient.http as triton
from tritonclient.utils import InferenceServerException

from bloodkeras.contract import CLASS_NAMES, IMAGE_SHAPE
from bloodkeras.runtime.classifier import Classifier, sha256_of
from bloodkeras.serving.batcher import Batcher
from bloodkeras.synthetic import draw_arrays

EXPORTS = Path(__file__).parent.parent / "exports"
JSON = {"content-type": "application/json"}
MALFORMED = 10_000


@pytest.fixture(scope="module")
def cells() -> np.ndarray:
    """Drawn cells, uint8 (40, 28, 28, 3)."""
    return draw_arrays({"train": 8, "val": 8, "test": 40})["test_images"]


class Server:
    """A server in a process of its own."""

    def __init__(self, *options: str):
        words = [sys.executable, "-m", "bloodkeras", "serve", "--port", "0", *options]
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(
            words, stdout=pipe, stderr=pipe, text=True, start_new_session=True
        )
        line = self.process.stdout.readline()
        assert line, self.process.stderr.read()
        self.port = int(line.split(" ")[0].rsplit(":", 1)[1])

    def client(self) -> triton.InferenceServerClient:
        return triton.InferenceServerClient(f"127.0.0.1:{self.port}", concurrency=8)

    def ask(self, method, path, body=None, headers=None) -> tuple[int, dict, bytes]:
        """Send one request; return status, headers and body."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            connection.request(method, path, body, headers or {})
            answer = connection.getresponse()
            return answer.status, dict(answer.getheaders()), answer.read()
        finally:
            connection.close()

    def infer(self, body: bytes, name="tiny", **headers) -> tuple[int, dict, bytes]:
        return self.ask("POST", f"/v2/models/{name}/infer", body, JSON | headers)

    def stop(self, number=signal.SIGTERM) -> tuple[int, str]:
        self.process.send_signal(number)
        _, errors = self.process.communicate(timeout=60)
        return self.process.returncode, errors


@contextmanager
def serving(*options: str):
    server = Server(*options)
    try:
        yield server
    finally:
        with suppress(ProcessLookupError):
            os.killpg(server.process.pid, signal.SIGKILL)  # its workers too
        server.process.communicate()


@pytest.fixture(scope="module")
def server():
    model = f"{EXPORTS / 'tiny'},deeper:2={EXPORTS / 'tiny'},deeper:10={EXPORTS / 'deeper'}"
    with serving("--model", model) as server:
        yield server


def as_json(images: np.ndarray, **changes) -> bytes:
    """Return a right request, or one with something changed."""
    tensor = {"name": "images", "shape": list(images.shape), "datatype": "UINT8"}
    return json.dumps({"inputs": [tensor | {"data": images.ravel().tolist()} | changes]}).encode()


def asked(images: np.ndarray, binary: bool) -> list:
    tensor = triton.InferInput("images", images.shape, "UINT8")
    tensor.set_data_from_numpy(images, binary_data=binary)
    return [tensor]


# --- the protocol, as a client that nobody here wrote speaks it -------------------------------


def test_the_client_finds_everything_alive_and_described(server):
    with server.client() as client:
        assert client.is_server_live()
        assert client.is_server_ready()
        assert client.is_model_ready("tiny")
        assert client.is_model_ready("deeper", "2")
        assert client.get_server_metadata()["name"] == "bloodkeras"
        metadata = client.get_model_metadata("deeper")
    image, photographs = metadata["inputs"]
    assert photographs == {"name": "photographs", "datatype": "BYTES", "shape": [-1]}
    assert image == {"name": "images", "datatype": "UINT8", "shape": [-1, *IMAGE_SHAPE]}
    outputs = {output["name"]: output for output in metadata["outputs"]}
    assert outputs["probs"]["parameters"]["labels"] == list(CLASS_NAMES)
    assert set(outputs) == {"probs", "label", "confidence", "verdict", "foreign"}
    assert metadata["versions"] == ["2", "10"]


@pytest.mark.parametrize("binary_in", [True, False])
@pytest.mark.parametrize("binary_out", [True, False])
def test_answers_are_those_of_the_classifier(server, cells, binary_in, binary_out):
    own = Classifier.load(EXPORTS / "tiny").answer(cells)
    names = ("probs", "label", "confidence", "verdict", "foreign")
    outputs = [triton.InferRequestedOutput(name, binary_data=binary_out) for name in names]
    with server.client() as client:
        found = client.infer("tiny", asked(cells, binary_in), outputs=outputs, request_id="17")
    assert found.get_response()["id"] == "17"
    np.testing.assert_allclose(found.as_numpy("probs"), own.probs, atol=1e-6)
    np.testing.assert_allclose(found.as_numpy("foreign"), own.foreign, rtol=1e-4)
    np.testing.assert_allclose(found.as_numpy("confidence"), own.probs.max(1), atol=1e-6)
    text = [word.decode() if binary_out else word for word in found.as_numpy("label")]
    assert text == [CLASS_NAMES[index] for index in own.probs.argmax(1)]
    text = [word.decode() if binary_out else word for word in found.as_numpy("verdict")]
    assert text == list(own.verdicts)


def test_a_name_alone_is_its_newest_version(server, cells):
    with server.client() as client:
        versions = {
            version: client.infer("deeper", asked(cells, True), version).as_numpy("probs")
            for version in ("2", "10", "")
        }
        with pytest.raises(InferenceServerException, match=r"versions 2, 10 of deeper"):
            client.infer("deeper", asked(cells, True), "3")
        with pytest.raises(InferenceServerException, match="expected deeper, tiny"):
            client.infer("deper", asked(cells, True))
    assert np.array_equal(versions[""], versions["10"])
    assert not np.array_equal(versions[""], versions["2"])


def test_many_clients_at_once_each_get_their_own(server, cells):
    def one(index: int) -> bool:
        with server.client() as client:
            images = cells[index % 40 : index % 40 + 1 + index % 3]
            found = client.infer("tiny", asked(images, True)).as_numpy("probs")
        return np.allclose(found, own[index % 40 : index % 40 + 1 + index % 3], atol=1e-5)

    own = Classifier.load(EXPORTS / "tiny").predict_proba(cells)
    with ThreadPoolExecutor(16) as pool:
        assert all(pool.map(one, range(200)))


def test_the_metrics_count_answers_and_refusals(server, cells):
    def count() -> float:
        lines = server.ask("GET", "/metrics")[2].decode().splitlines()
        name = "bloodkeras_answers_total{label="
        return sum(float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith(name))

    before = count()
    assert server.infer(as_json(cells[:3]))[0] == 200
    assert count() == before + 3


# --- what is malformed ------------------------------------------------------------------------

ONE = np.zeros((1, *IMAGE_SHAPE), np.uint8)


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"", "JSON"),
        (b"{", "JSON"),
        (b"[]", "the body"),
        (b"{}", "inputs: field required"),
        (b'{"inputs": []}', "wrong inputs"),
        (b'{"inputs": 3}', "inputs: input should be a valid list"),
        (as_json(ONE, name="image"), "expected images, UINT8 [N, 28, 28, 3]"),
        (as_json(ONE, datatype="FP32"), "found FP32"),
        (as_json(ONE, shape=[1, 3, 28, 28]), "found UINT8 [1, 3, 28, 28]"),
        (as_json(ONE, shape=[0, 28, 28, 3]), "found UINT8 [0, 28, 28, 3]"),
        (as_json(ONE, shape=[2**62, 28, 28, 3]), "its data 2352"),
        (as_json(ONE, shape=[2, 28, 28, 3]), "its shape has 4704 numbers, its data 2352"),
        (as_json(ONE, data=[0.5] * 2352), "expected whole numbers 0..255, found float64"),
        (as_json(ONE, data=[256] * 2352), "found 256 to 256"),
        (as_json(ONE, data=[True] * 2352), "found bool"),
        (as_json(ONE, data=["a"] * 2352), "expected whole numbers"),
        (as_json(ONE, data=[[1, 2], [3]]), "unequal lengths"),
        (as_json(ONE, data=[10**30] * 2352), "expected whole numbers"),
        (as_json(ONE, data=None), "neither data nor the parameter binary_data_size"),
        (as_json(ONE, data=None, parameters={"binary_data_size": 2352}), "0 follow the JSON"),
    ],
)  # fmt: skip
def test_a_wrong_request_is_told_what_was_expected(server, body, words):
    status, _, text = server.infer(body)
    assert status == 400
    assert words in json.loads(text)["error"]


@pytest.mark.parametrize(
    ("method", "path", "status", "words"),
    [
        ("GET", "/", 404, "expected /v2/models/NAME/infer"),
        ("GET", "/v2/models/none", 404, "there is no model none"),
        ("GET", "/v2/models/deeper/versions/3/ready", 404, "versions 2, 10"),
        ("GET", "/v2/models/tiny/infer", 405, "Method Not Allowed"),
        ("POST", "/v2/repository/models/tiny/unload", 404, "there is no"),
        ("POST", "/v1/models/tiny:predict", 404, "there is no"),
        ("GET", "/docs", 404, "there is no"),
    ],
)
def test_there_are_no_other_addresses(server, method, path, status, words):
    found, _, text = server.ask(method, path)
    assert found == status
    assert words in json.loads(text)["error"]


def malformed(chance: random.Random, right: list[tuple[dict, bytes]]) -> tuple[dict, bytes]:
    """Return a right request with something broken in it."""
    headers, body = chance.choice(right)
    headers, body = dict(headers), bytearray(body)
    kind = chance.randrange(6)
    if kind == 0:  # a few bytes changed
        for _ in range(chance.randint(1, 20)):
            body[chance.randrange(len(body))] = chance.randrange(256)
    elif kind == 1:  # cut short
        body = body[: chance.randrange(len(body))]
    elif kind == 2:  # something in the middle twice, or too much behind
        at = chance.randrange(len(body))
        body[at:at] = body[: chance.randrange(200)]
    elif kind == 3:  # a length that is not
        length = chance.choice(["-1", "1e9", "0", "abc", "", "9" * 30, str(chance.randrange(9999))])
        headers["Inference-Header-Content-Length"] = length
    elif kind == 4:  # noise
        body = bytearray(chance.randbytes(chance.randrange(3000)))
    else:  # other JSON
        value = chance.choice([None, -1, 2**63, 1e308, "x", [], [[]], {}, {"inputs": {}}, True])
        key = chance.choice(["name", "shape", "datatype", "parameters", "data"])
        body = bytearray(as_json(ONE, **{key: value}))
    return headers, bytes(body)


def test_ten_thousand_malformed_requests_do_no_harm(server, cells):
    tensor = {"name": "images", "shape": [2, *IMAGE_SHAPE], "datatype": "UINT8",
              "parameters": {"binary_data_size": 4704}}  # fmt: skip
    head = json.dumps({"inputs": [tensor], "parameters": {"binary_data_output": True}}).encode()
    length = {"Inference-Header-Content-Length": str(len(head))}
    right = [(JSON, as_json(cells[:1])), (length, head + cells[:2].tobytes())]
    for headers, body in right:
        assert server.ask("POST", "/v2/models/tiny/infer", body, headers)[0] == 200
    process, seed = psutil.Process(server.process.pid), random.randrange(2**32)
    chance, statuses, memory = random.Random(seed), [], 0
    for count in range(MALFORMED):
        if count == MALFORMED // 10:
            memory = process.memory_info().rss
        headers, body = malformed(chance, right)
        statuses.append(server.ask("POST", "/v2/models/tiny/infer", body, headers)[0])
    assert set(statuses) <= {200, 400}, f"seed {seed}: {set(statuses)}"
    assert statuses.count(400) > MALFORMED / 2
    assert process.memory_info().rss < memory + 20 * 2**20
    assert server.ask("POST", "/v2/models/tiny/infer", right[1][1], length)[0] == 200


def test_what_is_no_http_does_no_harm(server, cells):
    chance = random.Random(0)
    for _ in range(200):
        with socket.create_connection(("127.0.0.1", server.port)) as raw:
            raw.sendall(chance.choice([b"", b"POST /v2/models/tiny/infer HTTP/1.1\r\n\r\n"])
                        + chance.randbytes(chance.randrange(500)))  # fmt: skip
    assert server.infer(as_json(cells[:1]))[0] == 200


def test_the_schema_holds_under_fuzzing(server, tmp_path):
    """schemathesis reads /openapi.json and sends what it allows, and what it does not."""
    words = [
        Path(sys.executable).parent / "schemathesis", "run", "--no-color", "--max-examples", "60",
        "--checks", "not_a_server_error,status_code_conformance",
        f"http://127.0.0.1:{server.port}/openapi.json",
    ]  # fmt: skip
    done = subprocess.run(words, capture_output=True, text=True, timeout=300, cwd=tmp_path)
    assert done.returncode == 0, done.stdout[-3000:]


# --- too much, unwelcome, and the end ---------------------------------------------------------


def test_a_token_is_asked_for(tmp_path, cells):
    (tmp_path / "token").write_text("sesame\n", encoding="utf-8")
    with serving(
        "--model", str(EXPORTS / "tiny"), "--token-file", str(tmp_path / "token")
    ) as server:
        assert server.ask("GET", "/v2/health/ready")[0] == 200  # who watches has none
        for headers in ({}, {"authorization": "Bearer wrong"}, {"authorization": "Basic sesame"}):
            status, answered, _ = server.infer(as_json(cells[:1]), **headers)
            assert (status, answered["www-authenticate"]) == (401, "Bearer")
            assert server.ask("GET", "/metrics", headers=headers)[0] == 401
        assert server.infer(as_json(cells[:1]), authorization="Bearer sesame")[0] == 200


def test_a_long_or_compressed_body_is_refused(cells):
    with serving("--model", str(EXPORTS / "tiny"), "--body-mb", "0.05") as server:
        status, _, text = server.infer(as_json(cells))
        assert status == 413
        assert "at most 52428 bytes" in json.loads(text)["error"]
        # In chunks: the length is not known before.
        status, _, _ = server.ask("POST", "/v2/models/tiny/infer", iter([b"x" * 30_000] * 3), JSON)
        assert status == 413
        status, _, _ = server.infer(as_json(cells[:1]), **{"content-encoding": "gzip"})
        assert status == 415
        assert server.infer(as_json(cells[:1]))[0] == 200


def test_a_full_queue_answers_503_and_recovers(cells):
    many = np.tile(cells, (30, 1, 1, 1))
    with serving("--model", str(EXPORTS / "residual"), "--queue", "2") as server:
        with ThreadPoolExecutor(8) as pool:
            binary = [pool.submit(send_binary, server, many) for _ in range(8)]
            statuses = [done.result() for done in binary]
        assert {status for status, _ in statuses} == {200, 503}
        assert all(after == "1" for status, after in statuses if status == 503)
        assert send_binary(server, many)[0] == 200


def send_binary(server, images, name="residual") -> tuple[int, str | None]:
    tensor = {"name": "images", "shape": list(images.shape), "datatype": "UINT8",
              "parameters": {"binary_data_size": images.size}}  # fmt: skip
    head = json.dumps({"inputs": [tensor]}).encode()
    length = {"Inference-Header-Content-Length": str(len(head))}
    path = f"/v2/models/{name}/infer"
    status, headers, _ = server.ask("POST", path, head + images.tobytes(), length)
    return status, headers.get("retry-after")


@pytest.mark.parametrize(
    ("number", "status", "words"),
    [(signal.SIGTERM, 0, ""), (signal.SIGINT, 130, "bloodkeras: stopped by Ctrl-C\n")],
)
@pytest.mark.parametrize("workers", ["1", "2"])
def test_stopped_it_answers_what_it_took(cells, number, status, words, workers):
    many = np.tile(cells, (40, 1, 1, 1))
    with serving("--model", str(EXPORTS / "residual"), "--workers", workers) as server:
        wait_until_ready(server)
        with ThreadPoolExecutor(1) as pool:
            answer = pool.submit(send_binary, server, many)
            time.sleep(0.3)
            assert server.stop(number) == (status, words)
            assert answer.result()[0] == 200


def wait_until_ready(server) -> None:
    """Wait for the workers: they listen on a socket that is there before them."""
    assert server.ask("GET", "/v2/health/ready")[0] == 200


def test_workers_count_together_and_are_replaced(cells):
    with serving("--model", str(EXPORTS / "tiny"), "--workers", "2") as server:
        wait_until_ready(server)
        for _ in range(40):
            assert server.infer(as_json(cells[:1]))[0] == 200
        text = server.ask("GET", "/metrics")[2].decode()
        found = [line for line in text.splitlines() if line.startswith("bloodkeras_answers_total")]
        assert sum(float(line.rsplit(" ", 1)[1]) for line in found) == 40
        before = workers_of(server)
        assert len(before) == 2
        os.kill(min(before), signal.SIGKILL)
        deadline = time.monotonic() + 30
        while (after := workers_of(server)) == before or len(after) < 2:
            assert time.monotonic() < deadline, f"{before} became {after}"
            time.sleep(0.2)
        assert server.infer(as_json(cells[:1]))[0] == 200


def workers_of(server) -> set[int]:
    """Return the process numbers of the workers that live."""
    found = set()
    for child in psutil.Process(server.process.pid).children():
        with suppress(psutil.NoSuchProcess):  # a ZombieProcess is one
            if "spawn_main" in " ".join(child.cmdline()):
                found.add(child.pid)
    return found


def test_the_audit_log_names_everything_but_the_image(tmp_path, cells):
    log = tmp_path / "audit.jsonl"
    with serving("--model", str(EXPORTS / "tiny"), "--audit", str(log)) as server:
        assert server.infer(as_json(cells[:2]))[0] == 200
        assert server.infer(b"{}")[0] == 400
    (line,) = log.read_text(encoding="utf-8").splitlines()
    entry = json.loads(line)
    assert entry["model_sha256"] == sha256_of(EXPORTS / "tiny/model.onnx")
    own = Classifier.load(EXPORTS / "tiny").answer(cells[:2])
    assert [image["verdict"] for image in entry["images"]] == list(own.verdicts)
    assert {*entry["images"][0]} == {"sha256", "label", "confidence", "verdict"}
    assert len(line) < 700


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a full disk")
def test_what_cannot_be_written_down_is_not_answered(cells):
    with serving("--model", str(EXPORTS / "tiny"), "--audit", "/dev/full") as server:
        status, headers, text = server.infer(as_json(cells[:1]))
        assert (status, headers["retry-after"]) == (503, "1")
        assert "the audit log cannot be written" in json.loads(text)["error"]


@pytest.mark.parametrize(
    ("options", "status", "words"),
    [
        (["--model", "exports/none"], 1, "exports/none"),
        (["--model", ""], 2, "--model needs a value"),
        (["--model", ","], 2, "--model needs an export"),
        (["--model", "tiny,tiny"], 2, "names tiny version 1 twice"),
        (["--model", "a b=tiny"], 2, "found 'a b'"),
        (["--model", "tiny", "--workers", "0"], 2, "--workers: expected 1 to 256, found 0"),
        (["--model", "tiny", "--port", "80x"], 2, "port"),
        (["--model", "tiny", "--host", "nowhere.invalid"], 1, "cannot listen on nowhere.invalid"),
        (["--model", "tiny", "--token-file", "/none"], 1, "cannot read --token-file /none"),
        (
            ["--model", "tiny", "--audit", "/none/log"],
            1,
            "cannot write the audit log /none/log: No such file or directory",
        ),
        (["--model", "tiny", "--precision", "int4"], 2, "int4"),
    ],
)
def test_a_wrong_option_is_one_line(options, status, words):
    done = subprocess.run([sys.executable, "-m", "bloodkeras", "serve", *options],
                          capture_output=True, text=True, cwd=EXPORTS.parent)  # fmt: skip
    assert done.returncode == status, done.stderr
    assert words in done.stderr
    assert len(done.stderr.splitlines()) == 1, done.stderr


def test_a_taken_port_is_one_line():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        words = [sys.executable, "-m", "bloodkeras", "serve", "--model", "tiny", "--port", port]
        done = subprocess.run(words, capture_output=True, text=True, cwd=EXPORTS.parent)
    assert done.returncode == 1
    assert f"port {port} (Address already in use)" in done.stderr


def test_an_open_door_is_said():
    with serving("--model", str(EXPORTS / "tiny"), "--host", "0.0.0.0") as server:
        assert "can be reached from other machines" in server.stop()[1]


# --- batches ----------------------------------------------------------------------------------


def test_what_waits_together_is_computed_together(cells):
    classifier = Classifier.load(EXPORTS / "tiny")
    own = classifier.predict_proba(cells)

    async def ask_all(batcher):
        parts = [cells[start : start + 5] for start in range(0, 40, 5)]
        return await asyncio.gather(*(batcher.answer(part) for part in parts))

    batcher = Batcher(classifier, size=16, wait_ms=50)
    answers = asyncio.run(ask_all(batcher))
    np.testing.assert_allclose(np.concatenate([a.probs for a in answers]), own, atol=1e-5)
    assert (batcher.images, batcher.batches) == (40, 3)  # 15, 15 and 10: requests stay whole


def test_a_failing_network_is_told_to_everyone_who_waits_and_does_not_end_the_batcher(cells):
    class Failing:
        calls = 0

        def answer(self, images):
            self.calls += 1
            if self.calls == 1:
                raise RuntimeError("broken")
            return Classifier.load(EXPORTS / "tiny").answer(images)

    async def ask_twice():
        batcher = Batcher(Failing(), size=16, wait_ms=0)
        first = await asyncio.gather(*(batcher.answer(cells[:1]) for _ in range(3)),
                                     return_exceptions=True)  # fmt: skip
        return first, await batcher.answer(cells[:1])

    first, second = asyncio.run(ask_twice())
    assert [str(error) for error in first] == ["broken"] * 3
    assert len(second.probs) == 1


def test_an_image_that_nobody_waits_for_is_not_computed(cells):
    async def hang_up():
        batcher = Batcher(Classifier.load(EXPORTS / "tiny"), size=16, wait_ms=20)
        waiting = asyncio.create_task(batcher.answer(cells[:4]))
        await asyncio.sleep(0.001)
        waiting.cancel()
        await batcher.answer(cells[:1])
        return batcher.images

    assert asyncio.run(hang_up()) == 1
