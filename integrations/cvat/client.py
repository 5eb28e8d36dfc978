"""A session with a CVAT server: who we are, one log-in, patience with what is broken for a moment, errors in words."""

from __future__ import annotations

import json
import logging
import os
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

import urllib3
from cvat_sdk import exceptions
from cvat_sdk.core.client import Client, Config

from ...engine.desk.ports import DeskError, GoneError, LostError
from ...models.errors import InputError, MissingError

LEAST_VERSION = (2, 20)  # from which background work is told by /api/requests
_TRANSIENT = (429, 500, 502, 503, 504)
_LEGACY_TOKEN = re.compile(r"[0-9a-f]{40}")

logger = logging.getLogger(__name__)
T = TypeVar("T")


@dataclass(frozen=True)
class Access:
    """Where a server is and who we are there.

    Attributes:
        url: of the server.
        token: a personal access token, or the key of a log-in; or empty.
        username: with ``password``, if there is no token.
        password: of the user.
        organization: short name of the organisation to work in; empty for one's own space, None for all that we see.

    Raises:
        MissingError: without a url, or without a token or a name with a password.
        InputError: for an url of another kind.
    """

    url: str
    token: str = field(default="", repr=False)
    username: str = ""
    password: str = field(default="", repr=False)
    organization: str | None = None

    def __post_init__(self) -> None:
        if not self.url:
            raise MissingError("no CVAT server is named; set CVAT_URL, e.g. CVAT_URL=http://localhost:8080")
        if not re.match(r"https?://[^/\s]+", self.url):
            raise InputError(f"CVAT_URL is {self.url!r}; it must be like http://localhost:8080")
        if not self.token and not (self.username and self.password):
            raise MissingError(
                f"nobody to be at {self.url}; set CVAT_TOKEN (a personal access token made in CVAT), or CVAT_USERNAME "
                "and CVAT_PASSWORD"
            )

    @classmethod
    def from_environment(cls, secrets: Mapping[str, str | None] | None = None) -> Access:
        """Access as CVAT_URL, CVAT_TOKEN or CVAT_USERNAME and CVAT_PASSWORD, and CVAT_ORG say.

        Args:
            secrets: where to look before the environment, e.g. a FiftyOne plugin's secrets.
        """

        def find(name: str) -> str | None:
            return (secrets or {}).get(name) or os.environ.get(name)

        return cls(
            (find("CVAT_URL") or "").rstrip("/"), find("CVAT_TOKEN") or "", find("CVAT_USERNAME") or "",
            find("CVAT_PASSWORD") or "", find("CVAT_ORG"),
        )  # fmt: skip


@dataclass(frozen=True)
class Patience:
    """How long to try again what is broken for a moment.

    Attributes:
        tries: of one request.
        first: seconds before the second one; doubles from try to try.
        longest: seconds between two tries.
        timeout: seconds for a connection, and for an answer to go on.
        sleep: waits.
    """

    tries: int = 6
    first: float = 0.5
    longest: float = 30.0
    timeout: float = 120.0
    sleep: Callable[[float], None] = time.sleep

    def delay(self, attempt: int) -> float:
        """Seconds before another try, after so many."""
        return min(self.longest, self.first * 2 ** (attempt - 1))


class Trouble(Exception):
    """A request went wrong in a way that may pass; the work may or may not have been done."""

    def __init__(self, why: str, status: int = 0, retry_after: float | None = None) -> None:
        super().__init__(why)
        self.why, self.status, self.retry_after = why, status, retry_after


class Session:
    """Requests to one server over cvat-sdk.

    Args:
        access: where and who.
        patience: with what is broken for a moment.
    """

    def __init__(self, access: Access, patience: Patience | None = None) -> None:
        self.access, self.patience = access, patience or Patience()
        quiet = logging.getLogger(f"{__name__}.sdk")
        quiet.setLevel(logging.ERROR)
        config = Config(status_check_period=1)
        self.client = Client(access.url, logger=quiet, config=config, check_server_version=False)
        pool = getattr(self.client.api_client.rest_client, "pool_manager", None)
        if pool is not None:
            pool.connection_pool_kw["retries"] = urllib3.Retry(0, redirect=3)
        self.client.organization_slug = access.organization
        self._logged_in = False

    def close(self) -> None:
        """Closes the connections. The session is left to end by itself.

        Logging out would take the user's token away from everybody who works with it, other processes of ours included.
        """
        self._logged_in = False
        self.client.close()

    def send(
        self, method: str, path: str, body: Any = None, find: Callable[[], T | None] | None = None, what: str = "",
        **query: Any,
    ) -> Any:  # fmt: skip
        """Sends one request, again if it may help, and gives back what the server says.

        Args:
            method: of HTTP.
            path: from ``/api/`` on.
            body: plain values.
            find: for work that must not be done twice: looks whether it was done although no answer came. What it finds
                is the answer then.
            what: what the request is for, in words; it goes into errors.
            query: of the address; None is left out.

        Raises:
            GoneError: for what is not there.
            LostError: if the server does not answer, or does not know us.
            DeskError: for what it refuses.
        """
        return self.patiently(lambda: self._once(method, path, body, query, what), find, what or f"{method} {path}")

    def patiently(self, work: Callable[[], Any], find: Callable[[], T | None] | None, what: str) -> Any:
        """Does work, and again while it is in trouble that may pass; see ``send``."""
        for attempt in range(1, self.patience.tries + 1):
            try:
                self._log_in()
                return work()
            except Trouble as trouble:
                last = trouble
                if attempt == self.patience.tries:
                    break
                self.patience.sleep(trouble.retry_after or self.patience.delay(attempt))
                if find is not None and (found := find()) is not None:
                    return found
        raise self._given_up(last, what)

    def _given_up(self, trouble: Trouble, what: str) -> DeskError:
        if trouble.status == 0:
            return LostError(
                f"CVAT at {self.access.url} does not answer ({trouble.why}); is it running, and is CVAT_URL right?"
            )
        if trouble.status == 429:
            return LostError(f"CVAT at {self.access.url} wants fewer requests and did not let up: {trouble.why}")
        return DeskError(f"{what}: CVAT failed {self.patience.tries} times ({trouble.why}); see its log")

    def _log_in(self) -> None:
        if self._logged_in:
            return
        access, api = self.access, self.client.api_client
        if access.token:
            kind = "Token" if _LEGACY_TOKEN.fullmatch(access.token) else "Bearer"
            api.set_default_header("Authorization", f"{kind} {access.token}")
        else:
            try:
                self.client.login((access.username, access.password))
            except exceptions.ApiException as error:
                if error.status in _TRANSIENT:
                    raise _trouble(error) from None
                if error.status in (400, 401, 403):
                    raise LostError(
                        f"CVAT at {access.url} does not let {access.username!r} in; check CVAT_USERNAME and "
                        "CVAT_PASSWORD"
                    ) from None
                raise LostError(f"{access.url} is no CVAT server ({error.status}); check CVAT_URL") from None
            except (urllib3.exceptions.HTTPError, OSError) as error:
                raise Trouble(_in_words(error)) from None
        self._logged_in = True

    def _once(self, method: str, path: str, body: Any, query: Mapping[str, Any], what: str) -> Any:
        pairs = [(name, str(value)) for name, value in query.items() if value is not None]
        try:
            _, response = self.client.api_client.call_api(
                path, method, query_params=pairs, body=body,
                header_params={"Accept": "application/vnd.cvat+json"},
                _request_timeout=self.patience.timeout, _check_status=True,
            )  # fmt: skip
        except exceptions.ApiException as error:
            raise self._refused(error, what or f"{method} {path}") from None
        except (urllib3.exceptions.HTTPError, OSError) as error:
            raise Trouble(_in_words(error)) from None
        if not response.data:
            return None
        try:
            return json.loads(response.data)
        except ValueError:
            raise LostError(f"{self.access.url} does not answer as CVAT does; check CVAT_URL") from None

    def _refused(self, error: exceptions.ApiException, what: str) -> Exception:
        """What an error of the server is to us."""
        said, access = _said(error), self.access
        if error.status in _TRANSIENT or error.status == 0:
            return _trouble(error)
        if error.status == 401:
            if not access.token and self._logged_in:
                self._logged_in = False  # the session has ended: another log-in, at the next try
                self.client._clear_credentials() if hasattr(self.client, "_clear_credentials") else None
                return Trouble("the session has ended", 401)
            return LostError(
                f"CVAT at {access.url} does not accept the token; make a new one in CVAT and set CVAT_TOKEN"
            )
        if error.status == 403:
            who = access.username or "the owner of CVAT_TOKEN"
            return DeskError(
                f"{what}: CVAT does not allow it to {who} ({said}); ask for the right, or be somebody else"
            )
        if error.status == 404:
            return GoneError(f"{what}: not in CVAT any more, or not for us to see")
        return DeskError(f"{what}: CVAT refuses ({error.status}: {said})")


def _trouble(error: exceptions.ApiException) -> Trouble:
    headers = error.headers or {}
    after = headers.get("Retry-After")
    wait = float(after) if after is not None and re.fullmatch(r"\d+(\.\d+)?", after) else None
    return Trouble(f"{error.status}: {_said(error)}", error.status, wait)


def _said(error: exceptions.ApiException) -> str:
    """The server's words, in one line."""
    body = error.body.decode("utf-8", "replace") if isinstance(error.body, bytes) else str(error.body or "")
    return " ".join(re.sub(r"<[^>]+>", " ", body).split())[:300] or str(error.reason or "no reason given")


def _in_words(error: BaseException) -> str:
    """Why there was no answer, without addresses of objects."""
    inner: BaseException = getattr(error, "reason", None) or error
    inner = inner if isinstance(inner, BaseException) else error
    text = str(inner).split(": ", 1)[-1] if "object at 0x" in str(inner) else str(inner)
    return " ".join(text.split())[:200] or type(inner).__name__
