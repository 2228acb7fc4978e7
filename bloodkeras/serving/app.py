"""The application that a worker runs: kserve's data plane behind the addresses of the protocol.

Flow: takes an `Options`; gives an ASGI application.

kserve's own application has more addresses (its protocol v1, loading and unloading of models by
anybody) and knows no versions, so only what the protocol asks for is put together here.
"""

import logging
import os
import sys
from contextlib import contextmanager
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from starlette.exceptions import HTTPException

import bloodkeras
from bloodkeras.serving.guard import RETRY_AFTER, Guard
from bloodkeras.serving.options import VARIABLE, Options, read_token


@contextmanager
def _no_words():
    """Hide the command line: kserve reads it when it is imported."""
    words, sys.argv = sys.argv, sys.argv[:1]
    try:
        yield
    finally:
        sys.argv = words


with _no_words():
    import orjson
    from kserve import ModelRepository
    from kserve.errors import InvalidInput, ModelNotFound
    from kserve.logging import KSERVE_LOGGER_NAME, KSERVE_TRACE_LOGGER_NAME
    from kserve.protocol.dataplane import DataPlane
    from prometheus_client import REGISTRY, CollectorRegistry, exposition, multiprocess

    from bloodkeras.serving.audit_log import AuditLog
    from bloodkeras.serving.served_model import AuditFailed, ServedModel
    from bloodkeras.serving.tensors import INPUTS, Body, read_request

LENGTH_HEADER = "inference-header-content-length"
PLATFORM = "onnxruntime_onnx"


class Models(ModelRepository):
    """The models by name and version; a name alone is its newest version."""

    def __init__(self, models: list[ServedModel]):
        super().__init__()
        for model in sorted(models, key=lambda model: _order(model.version)):
            self.update(model)
            self.update(model, f"{model.name}/{model.version}")
        self.names = sorted({model.name for model in models})

    def versions(self, name: str) -> list[str]:
        """Return the versions of a model, the newest last."""
        return [key.split("/")[1] for key in self.models if key.startswith(f"{name}/")]

    def key(self, name: str, version: str | None) -> str:
        """Return what a model is called here.

        Raises:
            ModelNotFound: There is no such model or version.
        """
        key = f"{name}/{version}" if version else name
        if "/" in name or key not in self.models:
            missing = ModelNotFound(name)
            there = ", ".join(self.names)
            if name in self.names:
                there = f"versions {', '.join(self.versions(name))} of {name}"
            missing.reason = f"there is no model {key}: expected {there}"
            raise missing
        return key


def _order(version: str) -> tuple:
    """Return by what versions are sorted: 10 comes after 9."""
    return (version.isdigit(), int(version) if version.isdigit() else 0, version)


class Addresses:
    """What each address of the protocol answers."""

    def __init__(self, models: Models):
        self._models, self._plane = models, DataPlane(model_registry=models)

    async def server(self) -> dict[str, Any]:
        """Say what this server is."""
        return {"name": "bloodkeras", "version": bloodkeras.__version__,
                "extensions": ["binary_tensor_data"]}  # fmt: skip

    async def live(self) -> dict[str, bool]:
        """Say that the process answers."""
        return {"live": True}

    async def ready(self) -> dict[str, bool]:
        """Say that every model is loaded: it does not listen before."""
        return {"ready": True}

    async def models(self) -> dict[str, list[str]]:
        """Say which models there are."""
        return {"models": self._models.names}

    async def model(self, model_name: str, model_version: str | None = None) -> dict[str, Any]:
        """Say what a model takes and gives."""
        key = self._models.key(model_name, model_version)
        metadata = await self._plane.model_metadata(key)
        versions = self._models.versions(model_name)
        return metadata | {"name": model_name, "versions": versions, "platform": PLATFORM}

    async def model_ready(
        self, model_name: str, model_version: str | None = None
    ) -> dict[str, Any]:
        """Say that a model is loaded."""
        self._models.key(model_name, model_version)
        return {"name": model_name, "ready": True}

    async def infer(
        self, request: Request, model_name: str, model_version: str | None = None
    ) -> Response:
        """Answer images."""
        key = self._models.key(model_name, model_version)
        headers = dict(request.headers)
        names = [output["name"] for output in self._models.get_model(key).outputs]
        body = await request.body()
        asked = read_request(body, headers.get(LENGTH_HEADER), model_name, names)
        answer, _ = await self._plane.infer(key, asked, headers)
        content, length = answer.to_rest()
        if length is None:
            return Response(orjson.dumps(content), media_type="application/json")
        return Response(content, headers={LENGTH_HEADER: str(length)},
                        media_type="application/octet-stream")  # fmt: skip


def build(options: Options | None = None) -> Guard:
    """Load the models and return the application.

    Args:
        options: Every setting; in a worker process None, and they come with its environment.

    Raises:
        BloodkerasError: An export is incomplete or changed, a token or audit file cannot be used.
    """
    options = options or Options.from_text(os.environ[VARIABLE])
    _quiet_kserve()
    audit = AuditLog(options.audit) if options.audit else None
    threads = max(1, _cores() // options.workers)
    models = [ServedModel(served, options, audit, threads) for served in options.models]
    app = FastAPI(title="bloodkeras", version=bloodkeras.__version__, docs_url=None, redoc_url=None)
    _add_addresses(app, Addresses(Models(models)))
    _add_errors(app)
    token = read_token(options.token_file)
    return Guard(app, token, int(options.body_mb * 2**20), options.queue)


def _quiet_kserve() -> None:
    """Keep kserve from logging every refused request with a traceback, and a line a request."""
    for name in (KSERVE_LOGGER_NAME, KSERVE_TRACE_LOGGER_NAME):
        logging.getLogger(name).setLevel(logging.CRITICAL)


def _cores() -> int:
    allowed = getattr(os, "sched_getaffinity", None)
    return len(allowed(0)) if allowed else os.cpu_count() or 1


async def metrics(request: Request) -> Response:
    """Return the counters, those of all workers together."""
    registry = REGISTRY
    if "PROMETHEUS_MULTIPROC_DIR" in os.environ:
        registry = CollectorRegistry()
        multiprocess.MultiProcessCollector(registry)
    encoder, content_type = exposition.choose_encoder(request.headers.get("accept"))
    return Response(encoder(registry), headers={"content-type": content_type})


def _add_addresses(app: FastAPI, addresses: Addresses) -> None:
    one, version = "/v2/models/{model_name}", "/versions/{model_version}"
    example = INPUTS[0] | {"shape": [1, *INPUTS[0]["shape"][1:]], "data": []}
    body = {"requestBody": {"required": True, "content": {"application/json": {
        "schema": Body.model_json_schema(), "example": {"inputs": [example]},
    }}}}  # fmt: skip
    refusals = {status: {"description": HTTPStatus(status).phrase}
                for status in (400, 401, 404, 413, 415, 503)}  # fmt: skip
    for path, method in {
        "/v2": addresses.server,
        "/v2/health/live": addresses.live,
        "/v2/health/ready": addresses.ready,
        "/v2/models": addresses.models,
        one: addresses.model,
        f"{one}{version}": addresses.model,
        f"{one}/ready": addresses.model_ready,
        f"{one}{version}/ready": addresses.model_ready,
        "/metrics": metrics,
    }.items():
        app.add_api_route(path, method, methods=["GET"], responses=refusals,
                          operation_id=path.strip("/").replace("/", "_"))  # fmt: skip
    for path in (f"{one}/infer", f"{one}{version}/infer"):
        app.add_api_route(path, addresses.infer, methods=["POST"], responses=refusals,
                          openapi_extra=body, operation_id=path.strip("/").replace("/", "_"),
                          response_model=None)  # fmt: skip


def _add_errors(app: FastAPI) -> None:
    """Answer what is refused with a status and one line."""

    def answer(status: int, headers: dict | None = None, say=str):
        async def handler(request, error):
            return JSONResponse({"error": say(error)}, status, headers)

        return handler

    later = {"retry-after": RETRY_AFTER}
    app.add_exception_handler(InvalidInput, answer(400))
    app.add_exception_handler(ModelNotFound, answer(404))
    app.add_exception_handler(
        AuditFailed, answer(503, later, lambda error: f"the audit log cannot be written: {error}")
    )
    app.add_exception_handler(RequestValidationError, answer(400))

    async def no_such_address(request, error):
        say = error.detail
        if error.status_code == 404:
            say = f"there is no {request.url.path}: expected /v2/models/NAME/infer; see /v2/models"
        return JSONResponse({"error": say}, error.status_code, error.headers)

    app.add_exception_handler(HTTPException, no_such_address)
