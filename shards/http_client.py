"""One HTTP server asked one thing: its JSON, or an error that says whether to ask again."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from typing import Any, TypeAlias

import aiohttp

from shards.reason import ReasonError
from shards.sample import EncodedImage

LONGEST_RETRY_AFTER_S = 120.0
MAX_REPLY_BYTES = 16 << 20
CONNECT_S = 10.0
BUSY = (408, 425, 429)
NO_SERVER = (
    aiohttp.InvalidURL,
    aiohttp.ClientSSLError,
    aiohttp.ClientResponseError,
)  # whatever answers there
SHOWN = 300  # characters of a server's answer in a message


class EndpointError(RuntimeError):
    """An endpoint that cannot be used: *where: expected what, got what; the way out*."""


class EndpointsDownError(EndpointError):
    """No endpoint answers any more. What was committed is kept."""


class ServerWantedError(EndpointError):
    """Something is to be asked, of a server that is not started.

    Attributes:
        server: its name.
    """

    def __init__(self, server: str) -> None:
        super().__init__(server)
        self.server = server

    def __str__(self) -> str:
        return f"{self.server}: expected a running server, got none; a run starts it"


class RequestError(ReasonError, RuntimeError):
    """One request got no answer, for a reason like "http_400", "timeout", "not_json"; others may."""


class TransientError(RequestError):
    """It may be answered if asked again.

    Attributes:
        blames_endpoint: whether it counts towards setting the endpoint aside; being busy does not.
        retry_after_s: how long the server asks to wait, if it does.
    """

    def __init__(
        self, reason: str, message: str, *, blames_endpoint: bool = True, retry_after_s: float | None = None
    ) -> None:
        super().__init__(reason, message)
        self.blames_endpoint = blames_endpoint
        self.retry_after_s = retry_after_s


class OutageError(TransientError):
    """No answer, or one that says "later": it is waited for. Any other answer that is none is not."""


@dataclass(frozen=True)
class Form:
    """A multipart form. Unlike JSON it carries images as they are.

    Attributes:
        fields: name and value, in order; a name may come again.
    """

    fields: tuple[tuple[str, str | EncodedImage], ...]

    def data(self) -> aiohttp.FormData:
        """The form for one request; it cannot be sent twice."""
        form = aiohttp.FormData(default_to_multipart=True)
        for number, (name, value) in enumerate(self.fields):
            if isinstance(value, str):
                form.add_field(name, value)
            else:
                kind = value.extension.replace("jpg", "jpeg")
                file = f"{number}.{value.extension}"
                form.add_field(name, value.data, filename=file, content_type=f"image/{kind}")
        return form


Body: TypeAlias = bytes | Form
"""What is posted: JSON as bytes, or a form."""


class JsonClient:
    """One connection pool to any number of servers; lives in one event loop.

    Args:
        timeout_s: of one request, the wait for its answer included.
        api_key_env: environment variable that holds the key to send; "" for none. The key itself is in no
            message and no representation.
    """

    def __init__(self, timeout_s: float, api_key_env: str = "") -> None:
        self._timeout_s = timeout_s
        self._api_key_env = api_key_env
        self._key = _read_key(api_key_env)
        headers = {"Authorization": f"Bearer {self._key}"} if self._key else {}
        self._http = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=60),
            headers=headers,
            timeout=aiohttp.ClientTimeout(total=timeout_s, sock_connect=CONNECT_S),
        )

    async def close(self) -> None:
        """Close all connections."""
        await self._http.close()

    async def ask(self, url: str, path: str, body: Body | None = None) -> Any:  # noqa: ANN401, what a server says
        """The JSON at `path`, posted `body` if there is one. A redirect is not followed: the key stays here.

        Raises:
            OutageError: there is none, or one that says "later".
            TransientError: it may be answered if asked again.
            RequestError: the server refused it.
            EndpointError: the server refuses the key.
        """
        try:
            async with self._http.request(
                url=url + path, allow_redirects=False, **_sending(body)
            ) as response:
                text = self._hide(await _read_body(response, path))
                self._check_status(url, path, response, text)
        except TimeoutError as error:
            raise OutageError("timeout", f"no answer from {path} in {self._timeout_s:g} s") from error
        except aiohttp.ClientError as error:
            said = self._hide(f"{type(error).__name__}: {error}".encode()).decode()
            if isinstance(error, NO_SERVER):
                raise TransientError("no_http", said) from error
            raise OutageError("connection", said) from error
        return self._parse(path, text)

    def _check_status(self, url: str, path: str, response: aiohttp.ClientResponse, text: bytes) -> None:
        status = response.status
        if status == 200:
            return
        said = f"{path}: HTTP {status}: {text[:SHOWN].decode(errors='replace')}"
        if status in (401, 403):
            name = self._api_key_env
            held = f"the key in ${name}" if name else "no key, as api_key_env is unset"
            raise EndpointError(f"{url}: expected to be let in with {held}, got {said}")
        if status in BUSY or status >= 500:
            raise OutageError(
                f"http_{status}",
                said,
                blames_endpoint=status not in BUSY,
                retry_after_s=_retry_after_s(response.headers.get("Retry-After", "")),
            )
        raise RequestError(f"http_{status}", said)

    def _parse(self, path: str, text: bytes) -> Any:  # noqa: ANN401, what a server says
        if not text.strip():
            return None
        try:
            return json.loads(text)
        except (ValueError, RecursionError) as error:
            raise TransientError("not_json", f"{path}: expected JSON, got {text[:SHOWN]!r}") from error

    def _hide(self, text: bytes) -> bytes:
        """A server's words without the key, which some repeat; whole words, before any is cut."""
        return text.replace(self._key.encode(), b"***") if self._key else text


def _sending(body: Body | None) -> dict[str, Any]:
    if body is None:
        return {"method": "GET"}
    if isinstance(body, Form):
        return {"method": "POST", "data": body.data()}
    return {"method": "POST", "data": body, "headers": {"Content-Type": "application/json"}}


async def _read_body(response: aiohttp.ClientResponse, path: str) -> bytes:
    parts, size = [], 0
    async for part in response.content.iter_any():
        parts.append(part)
        size += len(part)
        if size > MAX_REPLY_BYTES:
            raise RequestError("too_long", f"{path}: expected at most {MAX_REPLY_BYTES >> 20} MB, got more")
    return b"".join(parts)


def _retry_after_s(value: str) -> float | None:
    """Seconds of a Retry-After header; a date or nonsense is None.

    >>> _retry_after_s("2"), _retry_after_s("9999"), _retry_after_s("Wed, 21 Oct 2026 07:28:00 GMT")
    (2.0, 120.0, None)
    """
    return min(float(value), LONGEST_RETRY_AFTER_S) if value.strip().isdecimal() else None


def _read_key(variable: str) -> str:
    if not variable:
        return ""
    if key := os.environ.get(variable, ""):
        return key
    raise EndpointError(
        f"environment: expected a key in ${variable}, got none; export it, or unset api_key_env"
    )
