"""The application that a worker runs: the addresses of the protocol.

Flow: takes an `Options`; gives an ASGI application.
"""

import os
from http import HTTPStatus
from typing import Any

from fastapi import APIRouter, FastAPI, HTTPException, Request
from fastapi.responses import JSONResponse, Response
from prometheus_client import REGISTRY, CollectorRegistry, exposition, multiprocess
from starlette.exceptions import HTTPException as AnyHTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp

import bloodkeras
from bloodkeras.cores import core_count
from bloodkeras.interrupts import end_with_parent
from bloodkeras.named_types import Json
from bloodkeras.serving.audit_log import AuditLog
from bloodkeras.serving.guard import Guard
from bloodkeras.serving.options import VARIABLE, Options, read_token
from bloodkeras.serving.photographs import PhotographReader
from bloodkeras.serving.served_model import ServedModel
from bloodkeras.serving.tensors import Body, read_photograph, read_request

LENGTH_HEADER = "inference-header-content-length"


class Models:
    """The models by name and version; a name alone is its newest version."""

    def __init__(self, models: list[ServedModel]) -> None:
        self._versions: dict[str, dict[str, ServedModel]] = {}
        for model in sorted(models, key=lambda model: (model.name, _order(model.version))):
            self._versions.setdefault(model.name, {})[model.version] = model

    def names(self) -> list[str]:
        """Return what there is."""
        return list(self._versions)

    def versions(self, name: str) -> list[str]:
        """Return the versions of a model, the newest last."""
        return list(self._versions[name])

    def get(self, name: str, version: str | None) -> ServedModel:
        """Return a model.

        Raises:
            HTTPException: 404: there is no such model or version.
        """
        if name not in self._versions:
            there = ", ".join(self._versions)
            raise HTTPException(404, f"there is no model {name}: expected {there}")
        version = version or self.versions(name)[-1]
        if version not in self._versions[name]:
            there = ", ".join(self._versions[name])
            raise HTTPException(
                404, f"there is no model {name}/{version}: expected versions {there} of {name}"
            )
        return self._versions[name][version]


def _order(version: str) -> tuple[Any, ...]:
    """Return by what versions are sorted: 10 comes after 9."""
    return (version.isdigit(), int(version) if version.isdigit() else 0, version)


def make_router(models: Models, images: Json) -> APIRouter:
    """Return what each address of the protocol answers.

    Args:
        models: What is served.
        images: The input of a model as its metadata names it, for the example of a request.
    """
    refusals: dict[int | str, Json] = {
        status: {"description": HTTPStatus(status).phrase}
        for status in (400, 401, 404, 413, 415, 503)
    }
    router = APIRouter(
        responses=refusals,
        generate_unique_id_function=lambda route: route.path_format.strip("/").replace("/", "_"),
    )
    name = "/v2/models/{model_name}"
    version = f"{name}/versions/{{model_version}}"

    @router.get("/v2")
    async def server() -> Json:
        """Say what this server is."""
        extensions = ["binary_tensor_data"]
        return {"name": "bloodkeras", "version": bloodkeras.__version__, "extensions": extensions}

    @router.get("/v2/health/live")
    async def live() -> dict[str, bool]:
        """Say that the process answers."""
        return {"live": True}

    @router.get("/v2/health/ready")
    async def ready() -> dict[str, bool]:
        """Say that every model is loaded: it does not listen before."""
        return {"ready": True}

    @router.get("/v2/models")
    async def all_models() -> dict[str, list[str]]:
        """Say which models there are."""
        return {"models": models.names()}

    @router.get(name)
    @router.get(version)
    async def model(model_name: str, model_version: str | None = None) -> Json:
        """Say what a model takes and gives."""
        metadata = models.get(model_name, model_version).metadata
        return metadata | {"versions": models.versions(model_name)}

    @router.get(f"{name}/ready")
    @router.get(f"{version}/ready")
    async def model_ready(model_name: str, model_version: str | None = None) -> Json:
        """Say that a model is loaded."""
        models.get(model_name, model_version)
        return {"name": model_name, "ready": True}

    body = {"requestBody": _described_body(images)}

    @router.post(f"{name}/infer", openapi_extra=body)
    @router.post(f"{version}/infer", openapi_extra=body)
    async def infer(
        request: Request, model_name: str, model_version: str | None = None
    ) -> Response:
        """Answer images."""
        model = models.get(model_name, model_version)
        body, known = await request.body(), model.output_names
        if request.headers.get("content-type", "").lower().startswith("image/"):
            asked = read_photograph(body, model.dataset, known)
        else:
            header = request.headers.get(LENGTH_HEADER)
            asked = read_request(body, header, model.dataset, known)
        content, length = await model.reply(asked)
        if length is None:
            return Response(content, media_type="application/json")
        return Response(
            content, headers={LENGTH_HEADER: str(length)}, media_type="application/octet-stream"
        )

    router.get("/metrics")(metrics)
    return router


def _described_body(images: Json) -> Json:
    """Return what OpenAPI says of a request's body."""
    example = images | {"shape": [1, *images["shape"][1:]], "data": []}
    schema = Body.model_json_schema()
    return {
        "required": True,
        "content": {
            "application/json": {"schema": schema, "example": {"inputs": [example]}},
            "image/*": {"schema": {"type": "string", "format": "binary"}},
        },
    }


def build(options: Options | None = None) -> ASGIApp:
    """Load the models and return the ASGI application.

    Args:
        options: Every setting; in a worker process None, and they come with its environment.

    Raises:
        BloodkerasError: An export is incomplete or changed, a token or audit file cannot be used.
    """
    if options is None:
        end_with_parent()
        options = Options.from_text(os.environ[VARIABLE])
    audit = AuditLog(options.audit) if options.audit else None
    threads = max(1, core_count() // options.workers)
    reader = PhotographReader(threads)
    models = [ServedModel(served, options, audit, reader, threads) for served in options.models]
    app = FastAPI(title="bloodkeras", version=bloodkeras.__version__, docs_url=None, redoc_url=None)
    app.include_router(make_router(Models(models), models[0].metadata["inputs"][0]))
    app.add_exception_handler(AnyHTTPException, _refused)
    token = read_token(options.token_file)
    guard = Guard(app, token, int(options.body_mb * 2**20), options.queue)
    return _opened(guard, options.cors) if options.cors else guard


def _opened(app: ASGIApp, origins: tuple[str, ...]) -> CORSMiddleware:
    """Return an application that pages of other origins may ask, refusals included.

    It answers a browser's question whether it may, which comes without the token.
    """
    return CORSMiddleware(
        app,
        allow_origins=origins,
        allow_methods=("GET", "POST"),
        allow_headers=("authorization", "content-type", LENGTH_HEADER),
        expose_headers=(LENGTH_HEADER, "retry-after"),
    )


async def metrics(request: Request) -> Response:
    """Return the counters, those of all workers together."""
    registry = REGISTRY
    if "PROMETHEUS_MULTIPROC_DIR" in os.environ:
        registry = CollectorRegistry()
        multiprocess.MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
    encoder, content_type = exposition.choose_encoder(request.headers.get("accept", ""))
    return Response(encoder(registry), headers={"content-type": content_type})


async def _refused(request: Request, error: Exception) -> JSONResponse:
    """Answer what is refused with its status and one line."""
    assert isinstance(error, AnyHTTPException)
    reason = error.detail
    if reason == HTTPStatus.NOT_FOUND.phrase:  # nobody here said that
        reason = f"there is no {request.url.path}: expected /v2/models/NAME/infer; see /v2/models"
    if reason == HTTPStatus.METHOD_NOT_ALLOWED.phrase:
        reason = f"{reason}: expected {(error.headers or {})['Allow']}, found {request.method}"
    return JSONResponse({"error": reason}, error.status_code, error.headers)
