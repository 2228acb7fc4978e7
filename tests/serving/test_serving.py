"""The server: the protocol as others' clients speak it; what is malformed, too much, unwelcome."""

import asyncio
import base64
import http.client
import io
import json
import os
import random
import shutil
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
import zlib
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path

import numpy as np
import pytest

if sys.platform == "win32":
    pytest.skip("stops servers by Unix' signals", allow_module_level=True)
pytest.importorskip("fastapi", reason="needs the extra serve: pip install 'bloodkeras[serve]'")
pytest.importorskip("tritonclient", reason="needs tritonclient[http], of the group dev")
import psutil
import tritonclient.http as triton
from PIL import Image
from tritonclient.utils import InferenceServerException

from bloodkeras.answers.classifier import Classifier
from bloodkeras.answers.export_folder import sha256_of
from bloodkeras.bloodmnist import BLOODMNIST, CLASS_NAMES
from bloodkeras.images.framing import UNKNOWN
from bloodkeras.images.synthetic import draw_arrays
from bloodkeras.serving import photographs as serving_photographs
from bloodkeras.serving.batcher import Batcher
from bloodkeras.serving.photographs import PhotographReader
from bloodkeras.serving.tensors import Asked

EXPORTS = Path(__file__).parents[2] / "exports"
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
    assert image == {"name": "images", "datatype": "UINT8", "shape": [-1, *BLOODMNIST.image_shape]}
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


def test_models_are_asked_as_the_options_say(cells, files):
    asking = "--classes", "platelet,monocyte", "--views", "--microns-per-pixel", "0.2"
    own = Classifier.load(EXPORTS / "tiny")
    with serving("--model", str(EXPORTS / "tiny"), *asking) as server:
        with server.client() as client:
            found = client.infer("tiny", asked(cells, True))
        _, _, text = server.infer(photographs([base64_of(files[2].read_bytes())]))
    expected = own.answer(cells, ["platelet", "monocyte"], views=True)
    np.testing.assert_allclose(found.as_numpy("probs"), expected.probs, atol=1e-6)
    (framed,) = own.predict(files[2], ["platelet", "monocyte"], 0.2, views=True)
    outputs = {output["name"]: output["data"] for output in json.loads(text)["outputs"]}
    np.testing.assert_allclose(outputs["probs"], framed.probs, atol=1e-6)


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


def test_the_metrics_count_what_is_foreign_under_no_class(server, cells):
    noise = np.random.default_rng(0).integers(0, 256, (4, *BLOODMNIST.image_shape), np.uint8)
    verdicts = Classifier.load(EXPORTS / "tiny").answer(noise).verdicts
    assert list(verdicts) == ["foreign"] * 4
    assert server.infer(as_json(np.concatenate([noise, cells[:1]])))[0] == 200
    lines = server.ask("GET", "/metrics")[2].decode().splitlines()
    found = [line for line in lines if line.startswith("bloodkeras_answers_total{")]
    foreign = [line for line in found if 'verdict="foreign"' in line]
    assert foreign == [line for line in found if 'label="foreign"' in line]
    assert float(foreign[0].rsplit(" ", 1)[1]) >= 4


# --- photographs ------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def files(tmp_path_factory, cells) -> list[Path]:
    """Photographs as files of several kinds and sizes."""
    folder = tmp_path_factory.mktemp("photographs")
    for k, (side, name) in enumerate(
        {28: "a.png", 200: "b.jpg", 363: "c.jpg", 90: "d.tif"}.items()
    ):
        Image.fromarray(cells[k]).resize((side, side)).save(folder / name)
    return sorted(folder.iterdir())


def photographs(data: list, /, **changes) -> bytes:
    """Return a request of photographs in JSON, or one with something changed."""
    tensor = {"name": "photographs", "shape": [len(data)], "datatype": "BYTES", "data": data}
    return json.dumps({"inputs": [tensor | changes]}).encode()


def base64_of(content: bytes) -> str:
    return base64.b64encode(content).decode()


def binary_photographs(behind: bytes, count: int, **changes) -> tuple[dict, bytes]:
    """Return headers and body of a request of photographs in binary."""
    tensor = {
        "name": "photographs",
        "shape": [count],
        "datatype": "BYTES",
        "parameters": {"binary_data_size": len(behind)},
    }
    head = json.dumps({"inputs": [tensor | changes]}).encode()
    return {"Inference-Header-Content-Length": str(len(head))}, head + behind


@pytest.mark.parametrize(
    ("binary", "encode"), [(True, bytes), (True, base64.b64encode), (False, base64.b64encode)]
)
def test_the_client_sends_photographs(server, files, binary, encode):
    contents = np.array([encode(path.read_bytes()) for path in files], object)
    tensor = triton.InferInput("photographs", [len(files)], "BYTES")
    tensor.set_data_from_numpy(contents, binary_data=binary)
    with server.client() as client:
        found = client.infer("tiny", [tensor])
    own = Classifier.load(EXPORTS / "tiny").predict(files)
    np.testing.assert_allclose(found.as_numpy("probs"), [a.probs for a in own], atol=1e-6)
    assert [word.decode() for word in found.as_numpy("verdict")] == [a.verdict for a in own]


def test_photographs_may_be_called_images(server, files):
    data = [base64_of(files[0].read_bytes())]
    status, _, text = server.infer(photographs(data, name="images"))
    assert (status, json.loads(text)["outputs"][0]["shape"]) == (200, [1, 8])


def wrapped(content: bytes) -> str:
    return base64.encodebytes(content).decode()  # with line breaks, as mail and `base64` have it


def data_url(content: bytes) -> str:
    return f"data:image/jpeg;base64,{base64_of(content)}"  # as FileReader in a browser has it


@pytest.mark.parametrize("encode", [wrapped, data_url])
def test_base64_may_come_as_browsers_and_mail_have_it(server, files, encode):
    status, _, text = server.infer(photographs([encode(files[1].read_bytes())]))
    assert status == 200, text
    assert json.loads(text)["outputs"][1]["data"] == [
        Classifier.load(EXPORTS / "tiny").predict(files[1])[0].label
    ]


@pytest.mark.parametrize("kind", ["image/jpeg", "Image/JPEG; charset=binary", "image/*"])
def test_a_body_may_be_one_photograph(server, files, kind):
    path = "/v2/models/tiny/infer"
    status, _, text = server.ask("POST", path, files[1].read_bytes(), {"Content-Type": kind})
    assert status == 200, text
    outputs = {output["name"]: output["data"] for output in json.loads(text)["outputs"]}
    (own,) = Classifier.load(EXPORTS / "tiny").predict(files[1])
    assert outputs["label"] == [own.label]
    np.testing.assert_allclose(outputs["probs"], own.probs, atol=1e-6)
    status, _, text = server.ask("POST", path, b"no image", {"Content-Type": kind})
    assert status == 400
    assert json.loads(text)["error"].startswith("photographs[0] is not an image")


def test_the_scale_of_photographs_is_heeded(server, files):
    def probs(parameters: dict) -> np.ndarray:
        contents = np.array([files[2].read_bytes()], object)
        tensor = triton.InferInput("photographs", [1], "BYTES")
        tensor.set_data_from_numpy(contents)
        with server.client() as client:
            return client.infer("tiny", [tensor], parameters=parameters).as_numpy("probs")[0]

    own = Classifier.load(EXPORTS / "tiny")
    for scale in (0.08, 0.2):
        (expected,) = own.predict(files[2], microns_per_pixel=scale)
        np.testing.assert_allclose(probs({"microns_per_pixel": scale}), expected.probs, atol=1e-6)
    assert not np.allclose(probs({"microns_per_pixel": 0.08}), probs({}), atol=1e-6)
    for wrong, words in {7: "expected 0.005 to 2", "x": "expected a number"}.items():
        with pytest.raises(InferenceServerException, match=words):
            probs({"microns_per_pixel": wrong})


@pytest.mark.parametrize("binary", [True, False])
def test_a_bad_photograph_among_good_ones_is_named(server, files, binary):
    good = [path.read_bytes() for path in files]
    for bad, words in {
        good[1][:100]: "photographs[2]",
        b"": "cannot read photographs[2]: the file is empty",
        b"no image": "photographs[2] is not an image",
        pixel_bomb(): "are over the limit",
    }.items():
        contents = [*good[:2], bad, *good[2:]]
        headers, body = JSON, photographs([base64_of(content) for content in contents])
        if binary:
            behind = b"".join(struct.pack("<I", len(each)) + each for each in contents)
            headers, body = binary_photographs(behind, len(contents))
        status, _, text = server.ask("POST", "/v2/models/tiny/infer", body, headers)
        error = json.loads(text)["error"]
        assert status == 400
        assert words in error
        assert "photographs[2]" in error
        assert "\n" not in error


def pixel_bomb() -> bytes:
    """Return a few hundred bytes that claim to be 9,000 x 9,000 pixels."""
    file = io.BytesIO()
    Image.new("1", (64, 64)).save(file, "PNG")
    content = bytearray(file.getvalue())
    content[16:24] = struct.pack(">II", 9_000, 9_000)
    content[29:33] = struct.pack(">I", zlib.crc32(content[12:29]))
    return bytes(content)


ANY = base64_of(b"x")


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (photographs([]), "photographs: expected images, UINT8 [N, 28, 28, 3]"),
        (photographs([ANY], shape=[1, 1]), "found BYTES [1, 1]"),
        (photographs([ANY], shape=[2]), "its shape has 2 files, its data 1"),
        (photographs([ANY], shape=[2**62]), "its data 1"),
        (photographs([ANY], datatype="UINT8"), "found UINT8 [1]"),
        (photographs([ANY], data=ANY), "expected a list of files in base64"),
        (photographs([ANY, 3]), "photographs[1]: expected a file in base64, found int"),
        (photographs([ANY, [ANY]]), "photographs[1]: expected a file in base64, found list"),
        (photographs(["J\u00e4"]), "photographs[0]: expected a file in base64"),
        (photographs(["abc"]), "photographs[0]: expected a file in base64"),
        (photographs([ANY], data=None), "neither data nor the parameter binary_data_size"),
        (
            json.dumps({"inputs": json.loads(photographs([ANY]))["inputs"] * 2}).encode(),
            "found photographs, photographs",
        ),
    ],
)
def test_wrong_photographs_are_told_what_was_expected(server, body, words):
    status, _, text = server.infer(body)
    assert status == 400
    assert words in json.loads(text)["error"]


@pytest.mark.parametrize(
    ("behind", "words"),
    [
        (b"\5\0\0\0abcd", "element 0 goes beyond"),
        (b"\1\0\0\0a\0", "element 1 goes beyond"),
        (b"\xff\xff\xff\xff", "element 0 goes beyond"),
        (b"", "its shape has 1 files, its data 0"),
        (b"\0\0\0\0" * 2, "its shape has 1 files, its data 2"),
    ],
)
def test_wrong_lengths_in_binary_are_told(server, behind, words):
    headers, body = binary_photographs(behind, 1)
    status, _, text = server.ask("POST", "/v2/models/tiny/infer", body, headers)
    assert status == 400
    assert words in json.loads(text)["error"]


def asked_of(count: int) -> Asked:
    return Asked(None, [b""] * count, UNKNOWN, {})


def test_decoding_holds_up_nobody(monkeypatch):
    """It waits for a word that only the loop can say."""
    said = threading.Event()

    def read(content, name, framing):
        assert said.wait(60)
        return np.zeros(BLOODMNIST.image_shape, np.uint8)

    async def decode():
        decoding = asyncio.create_task(PhotographReader(1).pixels(asked_of(2)))
        await asyncio.sleep(0)
        said.set()
        return await decoding

    monkeypatch.setattr(serving_photographs, "read_content", read)
    images, doubts = asyncio.run(decode())
    assert images.shape == (2, *BLOODMNIST.image_shape)
    assert doubts == ["", ""]


def test_a_small_request_is_not_behind_all_of_a_large_one(monkeypatch):
    order = []

    def read(content, name, framing):
        order.append(name)
        return np.zeros(BLOODMNIST.image_shape, np.uint8)

    async def decode():
        reader = PhotographReader(1)
        await asyncio.gather(reader.pixels(asked_of(9)), reader.pixels(asked_of(1)))

    monkeypatch.setattr(serving_photographs, "read_content", read)
    asyncio.run(decode())
    assert order.index("photographs[0]", 1) < order.index("photographs[3]")


# --- what is malformed ------------------------------------------------------------------------

ONE = np.zeros((1, *BLOODMNIST.image_shape), np.uint8)


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"", "JSON"),
        (b"{", "JSON"),
        (b"[]", "the body: expected a JSON object, found an array"),
        (b"null", "the body: expected a JSON object, found null"),
        (b"\xff\xd8\xff\xe0", "needs the header Content-Type: image/jpeg"),
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
)
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
        ("GET", "/v2/models/tiny/infer", 405, "Method Not Allowed: expected POST, found GET"),
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


def test_ten_thousand_malformed_requests_do_no_harm(server, cells, files):
    tensor = {
        "name": "images",
        "shape": [2, *BLOODMNIST.image_shape],
        "datatype": "UINT8",
        "parameters": {"binary_data_size": 4704},
    }
    head = json.dumps({"inputs": [tensor], "parameters": {"binary_data_output": True}}).encode()
    length = {"Inference-Header-Content-Length": str(len(head))}
    right = [(JSON, as_json(cells[:1])), (length, head + cells[:2].tobytes())]
    file = files[0].read_bytes()
    right += [
        (JSON, photographs([base64_of(file)])),
        binary_photographs(struct.pack("<I", len(file)) + file, 1),
    ]
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
            raw.sendall(
                chance.choice([b"", b"POST /v2/models/tiny/infer HTTP/1.1\r\n\r\n"])
                + chance.randbytes(chance.randrange(500))
            )
    assert server.infer(as_json(cells[:1]))[0] == 200


def test_the_schema_holds_under_fuzzing(server, tmp_path):
    """schemathesis reads /openapi.json and sends what it allows, and what it does not."""
    words = [
        Path(sys.executable).parent / "schemathesis",
        "run",
        "--no-color",
        "--max-examples",
        "60",
        "--checks",
        "not_a_server_error,status_code_conformance",
        f"http://127.0.0.1:{server.port}/openapi.json",
    ]
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
        assert "--body-mb" in json.loads(text)["error"]
        # In chunks: the length is not known before.
        status, _, _ = server.ask("POST", "/v2/models/tiny/infer", iter([b"x" * 30_000] * 3), JSON)
        assert status == 413
        status, _, _ = server.infer(as_json(cells[:1]), **{"content-encoding": "gzip"})
        assert status == 415
        assert server.infer(as_json(cells[:1]))[0] == 200


LONG = 30 * 2**20  # bytes: more than the buffers on the way hold

# Asks with Node's fetch, with the whole body and in chunks; prints the statuses.
FETCH = """
const [port, size] = process.argv.slice(2).map(Number);
const piece = new Uint8Array(65536), path = `http://127.0.0.1:${port}/v2/models/tiny/infer`;
let left = size;
const chunks = new ReadableStream({ pull(out) {
  if (left > 0) { out.enqueue(piece); left -= piece.length; } else out.close(); } });
for (const body of [new Uint8Array(size), chunks]) {
  const answer = await fetch(path, { method: "POST", body, duplex: "half" });
  console.log(answer.status, (await answer.json()).error);
}
"""


@pytest.fixture(scope="module")
def strict(tmp_path_factory):
    """A server with a token and a small limit."""
    token = tmp_path_factory.mktemp("strict") / "token"
    token.write_text("sesame", encoding="utf-8")
    options = ["--token-file", str(token), "--body-mb", "0.05", "--cors", "https://lab.example"]
    with serving("--model", str(EXPORTS / "tiny"), *options) as server:
        yield server


@pytest.mark.parametrize(
    ("token", "status", "words"), [("sesame", 413, "at most"), ("no", 401, "Bearer TOKEN")]
)
@pytest.mark.parametrize("chunks", [False, True])
def test_who_sends_all_before_reading_sees_the_refusal(strict, token, status, words, chunks):
    body = iter([bytes(65536)] * (LONG // 65536)) if chunks else bytes(LONG)
    headers = JSON | {"authorization": f"Bearer {token}"}
    found, _, text = strict.ask("POST", "/v2/models/tiny/infer", body, headers)
    assert found == status
    assert words in json.loads(text)["error"]
    assert strict.ask("GET", "/v2/health/ready")[0] == 200


def test_who_waits_to_be_told_before_sending_is_told(strict):
    with socket.create_connection(("127.0.0.1", strict.port), timeout=60) as raw:
        raw.sendall(
            b"POST /v2/models/tiny/infer HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\n"
            b"Authorization: Bearer sesame\r\nContent-Length: 9999999\r\n\r\n"
        )
        answer = b"".join(iter(partial(raw.recv, 65536), b""))  # until the server closes
    assert answer.startswith(b"HTTP/1.1 413")
    assert b"100 Continue" not in answer


@pytest.mark.skipif(shutil.which("node") is None, reason="needs Node.js: its fetch is asked with")
def test_fetch_of_node_sees_the_refusal(tmp_path):
    (tmp_path / "ask.mjs").write_text(FETCH, encoding="utf-8")
    with serving("--model", str(EXPORTS / "tiny"), "--body-mb", "0.05") as server:
        words = ["node", str(tmp_path / "ask.mjs"), str(server.port), str(LONG)]
        done = subprocess.run(words, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert [line[:20] for line in done.stdout.splitlines()] == ["413 expected a body "] * 2


PAGE = {"origin": "https://lab.example"}
QUESTION = {
    "access-control-request-method": "POST",
    "access-control-request-headers": "authorization,content-type",
}


def test_a_page_of_a_named_origin_may_ask_and_no_other(strict, server, cells):
    path, allowed = "/v2/models/tiny/infer", "access-control-allow-origin"
    status, headers, _ = strict.ask("OPTIONS", path, headers=PAGE | QUESTION)
    assert (status, headers[allowed]) == (200, "https://lab.example")  # without the token
    assert "authorization" in headers["access-control-allow-headers"].lower()
    right = JSON | PAGE | {"authorization": "Bearer sesame"}
    for given, expected in (
        (right, 200),
        (JSON | PAGE, 401),  # a refusal is to be read, too
        (right | {"content-length": "99999999", "expect": "100-continue"}, 413),
    ):
        status, headers, _ = strict.ask("POST", path, as_json(cells[:1]), given)
        assert (status, headers[allowed]) == (expected, "https://lab.example")
    other = {"origin": "https://evil.example"}
    assert allowed not in strict.ask("OPTIONS", path, headers=other | QUESTION)[1]
    assert allowed not in strict.ask("POST", path, as_json(cells[:1]), right | other)[1]
    # Off unless asked for.
    assert allowed not in server.ask("OPTIONS", path, headers=PAGE | QUESTION)[1]
    assert allowed not in server.ask("POST", path, as_json(cells[:1]), JSON | PAGE)[1]


@pytest.mark.parametrize("origins", ["*", "http://[::1]:3000,http://localhost:3000"])
def test_any_origin_or_several(cells, origins):
    with serving("--model", str(EXPORTS / "tiny"), "--cors", origins, "--workers", "2") as server:
        wait_until_ready(server)
        for origin in ("http://localhost:3000", "http://[::1]:3000"):
            status, headers, _ = server.infer(as_json(cells[:1]), origin=origin)
            assert status == 200
            assert headers["access-control-allow-origin"] in ("*", origin)


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
    tensor = {
        "name": "images",
        "shape": list(images.shape),
        "datatype": "UINT8",
        "parameters": {"binary_data_size": images.size},
    }
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


@pytest.mark.parametrize("moment", ["starting", "idle", "answering"])
def test_workers_do_not_outlive_a_parent_that_was_killed(cells, moment):
    with serving("--model", str(EXPORTS / "residual"), "--workers", "2") as server:
        if moment != "starting":
            wait_until_ready(server)
        parent = psutil.Process(server.process.pid)
        while len(children := parent.children(recursive=True)) < 2:
            time.sleep(0.01)
        with ThreadPoolExecutor(1) as pool:
            many = np.tile(cells, (40, 1, 1, 1))
            answer = pool.submit(send_binary, server, many) if moment == "answering" else None
            time.sleep(0.3)
            server.process.kill()
            _, alive = psutil.wait_procs(children, timeout=60)
            assert alive == []
            assert answer is None or answer.result()[0] == 200  # what was taken is answered


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
        (["--model", "tiny", "--host", "nowhere.invalid"], 1, "--host takes a name or an address"),
        (["--model", "tiny", "--token-file", "/none"], 1, "cannot read --token-file /none"),
        (
            ["--model", "tiny", "--audit", "/none/log"],
            1,
            "cannot write the audit log /none/log: No such file or directory",
        ),
        (["--model", "tiny", "--precision", "int4"], 2, "int4"),
        (["--model", "tiny", "--classes", "hepatocyte"], 2, "hepatocyte"),
        (["--model", "tiny", "--prior", "estimate"], 2, "--prior estimate is for `predict`"),
        (["--model", "tiny", "--prior", "/none.csv"], 1, "/none.csv"),
        (["--model", "tiny", "--microns-per-pixel", "7"], 2, "expected 0.005 to 2"),
        (["--model", "tiny", "--cors", "lab.example"], 2, "--cors lab.example: expected an origin"),
        (["--model", "tiny", "--cors", "https://a.b/c"], 2, "without a path"),
        (["--model", "tiny", "--cors", "null"], 2, "--cors null"),
        (["--model", "tiny", "--cors", "*", "--token-file", "x"], 2, "--cors * with --token-file"),
    ],
)
def test_a_wrong_option_is_one_line(options, status, words):
    done = subprocess.run(
        [sys.executable, "-m", "bloodkeras", "serve", *options],
        capture_output=True,
        text=True,
    )
    assert done.returncode == status, done.stderr
    assert words in done.stderr
    assert len(done.stderr.splitlines()) == 1, done.stderr


def test_a_taken_port_is_one_line():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        words = [sys.executable, "-m", "bloodkeras", "serve", "--model", "tiny", "--port", port]
        done = subprocess.run(words, capture_output=True, text=True)
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
        first = await asyncio.gather(
            *(batcher.answer(cells[:1]) for _ in range(3)), return_exceptions=True
        )
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
