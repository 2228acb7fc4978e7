"""Stands before everything else: who may ask, how much at once, and how long a request may be.

Flow: takes an ASGI application; gives one that refuses before a body is read, or while it is.
"""

import hmac
import json

from prometheus_client import Counter, Gauge
from starlette.exceptions import HTTPException

REFUSED = Counter("bloodkeras_refused_total", "Requests that were refused", ["status"])
IN_FLIGHT = Gauge(
    "bloodkeras_requests_in_flight", "Requests taken and not answered", multiprocess_mode="livesum"
)
OPEN_TO_ALL = ("/v2/health/live", "/v2/health/ready")  # who watches over a server has no token
RETRY_AFTER = "1"  # seconds


class Refusal(Exception):
    """A request that is not let in."""

    def __init__(self, status: int, reason: str, headers: tuple[tuple[str, str], ...] = ()):
        super().__init__(reason)
        self.status, self.headers = status, headers


class Guard:
    """An ASGI application around another one."""

    def __init__(self, app, token: bytes, most_bytes: int, most_requests: int):
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

    async def __call__(self, scope, receive, send) -> None:
        """Answer one connection's event, as ASGI has it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        counted = scope["method"] == "POST"
        try:
            self._check(scope)
            if counted and self._in_flight >= self._most_requests:
                raise Refusal(
                    503,
                    f"busy: {self._most_requests} requests are being answered; try again",
                    (("retry-after", RETRY_AFTER),),
                )
        except Refusal as refusal:
            await self._read_away(scope, receive)
            await self._refuse(refusal, send)
            return
        self._in_flight += counted
        IN_FLIGHT.inc(counted)
        try:
            await self._pass_on(scope, receive, send)
        finally:
            self._in_flight -= counted
            IN_FLIGHT.dec(counted)

    def _check(self, scope) -> None:
        """Look at the headers."""
        headers = dict(scope["headers"])
        if self._token and scope["path"] not in OPEN_TO_ALL:
            given = headers.get(b"authorization", b"")
            if not hmac.compare_digest(given, b"Bearer " + self._token):
                raise Refusal(
                    401, "expected Authorization: Bearer TOKEN", (("www-authenticate", "Bearer"),)
                )
        if headers.get(b"content-encoding", b"identity") != b"identity":
            raise Refusal(415, "expected a body that is not compressed: no Content-Encoding")
        length = headers.get(b"content-length", b"0")
        if length.isdigit() and int(length[:20]) > self._most_bytes:
            raise Refusal(413, self._too_long())

    def _too_long(self) -> str:
        return f"expected a body of at most {self._most_bytes} bytes: send fewer images"

    async def _pass_on(self, scope, receive, send) -> None:
        """Let it in, counting the bytes: a body in chunks does not say its length."""
        read = 0

        async def counted_receive():
            nonlocal read
            message = await receive()
            read += len(message.get("body", b""))
            if read > self._most_bytes:  # raised where the application reads: it answers
                REFUSED.labels(413).inc()
                if message.get("more_body", False):
                    await self._read_away(scope, receive)
                raise HTTPException(413, self._too_long(), {"connection": "close"})
            return message

        await self._app(scope, counted_receive, send)

    async def _read_away(self, scope, receive) -> None:
        """Read what is still sent, up to a limit, and keep nothing.

        A connection that is closed while its client sends is reset, and the client sees a broken
        pipe in the place of the refusal.
        """
        if any(name == b"expect" for name, _ in scope["headers"]):
            return  # it waits to be told before it sends
        read = 0
        while read <= self._most_bytes:
            message = await receive()
            read += len(message.get("body", b""))
            if not message.get("more_body", False):
                return

    @staticmethod
    async def _refuse(refusal: Refusal, send) -> None:
        REFUSED.labels(refusal.status).inc()
        body = json.dumps({"error": str(refusal)}).encode()
        # Some of a long body is not read: no other request can follow on this connection.
        headers = {"content-type": "application/json", "content-length": str(len(body)),
                   "connection": "close"} | dict(refusal.headers)  # fmt: skip
        await send({
            "type": "http.response.start", "status": refusal.status,
            "headers": [(name.encode(), value.encode()) for name, value in headers.items()],
        })  # fmt: skip
        await send({"type": "http.response.body", "body": body})
