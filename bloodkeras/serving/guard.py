"""Stands before everything else: who may ask, how much at once, and how long a request may be.

Flow: takes an ASGI application; gives one that refuses before a body is read, or while it is.
"""

import asyncio
import hmac
from contextlib import suppress

from fastapi import HTTPException
from prometheus_client import Counter, Gauge
from starlette.requests import ClientDisconnect
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

REFUSED = Counter("bloodkeras_refused_total", "Requests that were refused", ["status"])
IN_FLIGHT = Gauge(
    "bloodkeras_requests_in_flight", "Requests taken and not answered", multiprocess_mode="livesum"
)
OPEN_TO_ALL = ("/v2/health/live", "/v2/health/ready")  # who watches over a server has no token
RETRY_AFTER = "1"  # seconds
LINGER = 30  # seconds that a refused client has to send the rest of its body in


class Guard:
    """An ASGI application around another one."""

    def __init__(self, app: ASGIApp, token: bytes, most_bytes: int, most_requests: int) -> None:
        """Take over an application.

        Args:
            app: It sees only what passed.
            token: What `Authorization: Bearer` must say; b"" for anybody.
            most_bytes: Of a body.
            most_requests: POST requests that are being answered at the same time.
        """
        self._app, self._token = app, token
        self._most_bytes, self._most_requests = most_bytes, most_requests
        self._in_flight = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one connection's event, as ASGI has it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        try:
            self._check(scope)
            if scope["method"] == "POST":
                await self._take(scope, receive, send)
            else:
                await self._app(scope, receive, send)
        except HTTPException as refusal:
            await self._refuse(refusal, scope, receive, send)
        except ClientDisconnect:
            return  # there is nobody to answer

    def _check(self, scope: Scope) -> None:
        """Look at the headers."""
        headers = dict(scope["headers"])
        if self._token and scope["path"] not in OPEN_TO_ALL:
            given = headers.get(b"authorization", b"")
            if not hmac.compare_digest(given, b"Bearer " + self._token):
                raise HTTPException(
                    401, "expected Authorization: Bearer TOKEN", {"www-authenticate": "Bearer"}
                )
        if headers.get(b"content-encoding", b"identity") != b"identity":
            raise HTTPException(415, "expected a body that is not compressed: no Content-Encoding")
        length = headers.get(b"content-length", b"0")
        if length.isdigit() and int(length[:20]) > self._most_bytes:
            raise self._too_long()

    def _too_long(self) -> HTTPException:
        return HTTPException(
            413,
            f"expected a body of at most {self._most_bytes} bytes: send fewer or smaller images, "
            "or serve with a larger --body-mb",
        )

    async def _take(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request in if there is room, once all of it is there."""
        if self._in_flight >= self._most_requests:
            raise HTTPException(
                503,
                f"busy: {self._most_requests} requests are being answered; try again",
                {"retry-after": RETRY_AFTER},
            )
        self._in_flight += 1
        IN_FLIGHT.inc()
        try:
            whole = [{"type": "http.request", "body": await self._body(receive)}]

            async def receive_whole() -> Message:
                return whole.pop() if whole else await receive()

            await self._app(scope, receive_whole, send)
        finally:
            self._in_flight -= 1
            IN_FLIGHT.dec()

    async def _body(self, receive: Receive) -> bytes:
        """Read a body, counting: one in chunks does not say its length."""
        parts, read, more = [], 0, True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise ClientDisconnect
            parts.append(message.get("body", b""))
            read += len(parts[-1])
            if read > self._most_bytes:
                raise self._too_long()
            more = message.get("more_body", False)
        return b"".join(parts)

    async def _refuse(
        self, refusal: HTTPException, scope: Scope, receive: Receive, send: Send
    ) -> None:
        """Say no, then read what is still sent and keep nothing.

        Many clients (Python's http.client, Node's fetch) send all of a body before they look for
        an answer. A connection that is closed under them is reset, and they see that instead.
        """
        REFUSED.labels(refusal.status_code).inc()
        # Some of a long body may never be read: no other request can follow on this connection.
        headers = {"connection": "close", **(refusal.headers or {})}
        reply = JSONResponse({"error": refusal.detail}, refusal.status_code, headers)
        start = {"type": "http.response.start", "status": reply.status_code}
        await send(start | {"headers": reply.raw_headers})
        await send({"type": "http.response.body", "body": reply.body, "more_body": True})
        if not any(name == b"expect" for name, _ in scope["headers"]):  # else it waits to be told
            with suppress(TimeoutError):
                async with asyncio.timeout(LINGER):
                    while (await receive()).get("more_body", False):
                        pass
        await send({"type": "http.response.body"})
