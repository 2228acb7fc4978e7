"""The application behind the page: a handful of addresses, for this page alone.

Flow: takes a `Labelling` and what it is about; gives an ASGI application. Photographs are asked for
by their number, never by a path. What changes something has to come with the page's token, and
where only this machine is to ask, with its name: another page in the same browser has neither.
"""

import json
import secrets
from typing import Any

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from bloodkeras.errors import BloodkerasError
from bloodkeras.labelling.calibration import Calibration
from bloodkeras.labelling.cells import Cells
from bloodkeras.labelling.page import render
from bloodkeras.labelling.picture import picture_of
from bloodkeras.labelling.state import Labelling
from bloodkeras.laboratory.calibrate import ADVISED_CELLS, LEAST_CELLS
from bloodkeras.laboratory.labels import NOT_A_CELL, UNKNOWN
from bloodkeras.named_types import Json
from bloodkeras.serving.options import is_loopback

TOKEN = "x-bloodkeras-token"
MOST_BYTES = 10_000  # of a request: a number and a name
LOCAL = ("127.0.0.1", "localhost", "::1")
HEADERS = (
    (b"cache-control", b"no-store"),
    (b"content-security-policy", b"frame-ancestors 'none'; base-uri 'none'; form-action 'none'"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"referrer-policy", b"no-referrer"),
    (b"x-content-type-options", b"nosniff"),
)


class Desk:
    """What the addresses answer."""

    def __init__(
        self, labelling: Labelling, cells: Cells, calibration: Calibration, photos: str
    ) -> None:
        self._labelling, self._cells, self._calibration = labelling, cells, calibration
        self.token = secrets.token_urlsafe()
        model = str(cells.classifier.card.get("model", "the network"))
        table = str(labelling.table.path)
        self._page = render(labelling.classes, model, photos, table, self.token, labelling.random)

    def page(self, request: Request) -> Response:
        """Answer the page."""
        return HTMLResponse(self._page)

    def state(self, request: Request) -> Response:
        """Answer what the page shows."""
        return JSONResponse(self._view())

    def photo(self, request: Request) -> Response:
        """Answer a photograph, by its number."""
        place = request.path_params["place"]
        if not place < len(self._cells):
            raise HTTPException(404, "there is no such photograph")
        jpeg = picture_of(self._cells.paths[place], self._cells.framing)
        return Response(jpeg, media_type="image/jpeg")

    async def answer(self, request: Request) -> Response:
        """Take what a person says."""
        try:
            body = json.loads(await request.body())
            place, label = body["place"], body["label"]
        except (ValueError, TypeError, KeyError):
            raise HTTPException(400, "expected the place and the label of a photograph") from None
        if type(place) is not int or not isinstance(label, str):
            raise HTTPException(400, "expected a number as place and a text as label")
        return await self._after(self._labelling.answer, place, label)

    async def undo(self, request: Request) -> Response:
        """Take the last answer back."""
        return await self._after(self._labelling.undo)

    async def calibrate(self, request: Request) -> Response:
        """Start a calibration."""
        rows, known = self._labelling.table.rows, self._cells.classifier.labels
        new = {name: count for name, count in self._new().items() if count}
        return await self._after(self._calibration.start, rows, known, new)

    async def _after(self, do: Any, *words: Any) -> Response:
        """Do something and answer what the page shows then."""
        await run_in_threadpool(do, *words)
        return JSONResponse(await run_in_threadpool(self._view))

    def _new(self) -> dict[str, int]:
        """Return how many cells have each of the classes that the network does not know."""
        said = [row.label for row in self._labelling.table.rows]
        return {name: said.count(name) for name in self._labelling.new}

    def _view(self) -> Json:
        found = self._labelling.view()
        new = self._labelling.new
        counts = found["counts"]
        own = {k: n for k, n in counts.items() if k not in (*new, NOT_A_CELL, UNKNOWN)}
        return found | {
            "missing": max(0, LEAST_CELLS - sum(own.values())),
            "advice": _advice(own, new),
            "calibration": self._calibration.view(),
        }


def _advice(counts: dict[str, int], new: tuple[str, ...]) -> str:
    """Return what to bear in mind before a calibration, by the counts of the known classes."""
    lines = []
    if (count := sum(counts.values())) < ADVISED_CELLS:
        lines.append(f"{count} cells: better {ADVISED_CELLS} or more")
    if single := [name for name, count in counts.items() if count == 1]:
        lines.append(f"a single cell of {', '.join(single)}: label another, or it says nothing")
    if new:
        lines.append(f"cells of {', '.join(new)} are left out: the network has to be trained anew")
    return "; ".join(lines)


def build(desk: Desk, host: str) -> ASGIApp:
    """Return the application.

    Args:
        desk: Who answers.
        host: Where it listens.
    """
    routes = [
        Route("/", desk.page),
        Route("/state", desk.state),
        Route("/photo/{place:int}", desk.photo),
        *(
            Route(f"/{name}", getattr(desk, name), methods=["POST"])
            for name in ("answer", "undo", "calibrate")
        ),
    ]
    refusals: Any = {BloodkerasError: _failed, HTTPException: _refused}
    app = Starlette(routes=routes, exception_handlers=refusals)
    return Door(app, desk.token, (*LOCAL, host) if is_loopback(host) else ())


def _failed(request: Request, error: Exception) -> Response:
    return JSONResponse({"error": str(error)}, 409)


def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return JSONResponse({"error": error.detail}, error.status_code, error.headers)


class Door:
    """An ASGI application around another one, which only the page's own requests pass."""

    def __init__(self, app: ASGIApp, token: str, names: tuple[str, ...]) -> None:
        """Take over an application.

        Args:
            app: It sees only what passed.
            token: What the page says.
            names: By which alone this machine may be called; none at all: by any.
        """
        self._app, self._token, self._names = app, token.encode(), names

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one connection's event, as ASGI has it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_safely(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", ()), *HEADERS]
            await send(message)

        refusal = self._refusal(scope)
        app = JSONResponse({"error": refusal[1]}, refusal[0]) if refusal else self._app
        await app(scope, receive, send_safely)

    def _refusal(self, scope: Scope) -> tuple[int, str] | None:
        """Return the status and the reason of what is refused by its headers alone."""
        headers = dict(scope["headers"])
        host = headers.get(b"host", b"").decode("latin-1").rsplit(":", 1)[0].strip("[]")
        if self._names and host not in self._names:  # a name of somebody else's that leads here
            return 403, "expected a page of this machine"
        if scope["method"] in ("GET", "HEAD"):
            return None
        if not secrets.compare_digest(headers.get(TOKEN.encode(), b""), self._token):
            return 403, "label was started again since: reload this page"
        length = headers.get(b"content-length", b"")
        if not length.isdigit() or int(length[:20]) > MOST_BYTES:
            return 413, f"expected a body of at most {MOST_BYTES:,} bytes"
        return None
