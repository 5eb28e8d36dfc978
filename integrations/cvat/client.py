"""A session with a CVAT server: who we are, one log-in, patience with what is broken for a moment, errors in words."""

from __future__ import annotations

import json
import logging
import os
import re
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

import urllib3
from cvat_sdk import exceptions
from cvat_sdk.core.client import Client, Config

from ...engine.desk.ports import DeskError, GoneError, LostError
from ...models.errors import InputError, MissingError
from .trouble import TRANSIENT, Patience, PatientRest, Trouble, said, trouble_of

LEAST_VERSION = (2, 20)  # from which background work is told by /api/requests
_LEGACY_TOKEN = re.compile(r"[0-9a-f]{40}")

logger = logging.getLogger(__name__)
T = TypeVar("T")


class ForbiddenError(DeskError):
    """The server knows us, and does not allow it."""


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
        given = secrets or {}

        def find(name: str) -> str | None:
            return given.get(name) or os.environ.get(name)

        # Who is named in the secrets must not become somebody else because of a token in the environment.
        named = given.get("CVAT_USERNAME") or given.get("CVAT_PASSWORD")
        token = given.get("CVAT_TOKEN") if named else find("CVAT_TOKEN")
        return cls(
            (find("CVAT_URL") or "").rstrip("/"), token or "", find("CVAT_USERNAME") or "",
            find("CVAT_PASSWORD") or "", find("CVAT_ORG"),
        )  # fmt: skip


class Session:
    """Requests to one server over cvat-sdk.

    Args:
        access: where and who.
        patience: with what is broken for a moment.

    Attributes:
        client: of cvat-sdk.
        who: name of the user, as far as it is known.
    """

    def __init__(self, access: Access, patience: Patience | None = None) -> None:
        self.access, self.patience = access, patience or Patience()
        quiet = logging.getLogger(f"{__name__}.sdk")
        quiet.setLevel(logging.CRITICAL)  # cvat-sdk tells of errors that are told here, with all headers
        self.client = Client(access.url, logger=quiet, config=Config(), check_server_version=False)
        api = self.client.api_client
        api.rest_client = PatientRest(api.configuration, self.patience)
        self.client.organization_slug = access.organization
        self.who = access.username if not access.token else "the owner of CVAT_TOKEN"
        self._logged_in = False
        self._lock = threading.Lock()

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
            logger.info("%s: %s; try %d of %d", what, last.why, attempt, self.patience.tries)
            # What the server may still be at, is waited for; a second request would do it twice.
            wait_only = find is not None and last.slow
            for look in range(attempt, self.patience.tries + 1 if wait_only else attempt + 1):
                if attempt < self.patience.tries or wait_only:
                    self.patience.wait(look, last.retry_after)
                if find is not None and (found := find()) is not None:
                    return found
            if wait_only:
                break
        raise self._given_up(last, what)

    def _given_up(self, trouble: Trouble, what: str) -> DeskError:
        url, tries = self.access.url, self.patience.tries
        if trouble.slow:
            return DeskError(f"{what}: CVAT at {url} was not done with it in time ({trouble.why}); it may be, later")
        if trouble.status == 0:
            return LostError(f"CVAT at {url} does not answer: {trouble.why}; is it running, and is CVAT_URL right?")
        if trouble.status == 401:
            return LostError(f"CVAT at {url} lets {self.who!r} in, but forgets it at once; see its log")
        if trouble.status == 429:
            return LostError(f"CVAT at {url} wants fewer requests and did not let up: {trouble.why}")
        if trouble.status in (502, 503):
            return LostError(f"CVAT at {url} is not up ({trouble.why}, {tries} times); is it starting?")
        return DeskError(f"{what}: CVAT failed {tries} times ({trouble.why}); see its log")

    def _log_in(self) -> None:
        with self._lock:
            if self._logged_in:
                return
            if self.access.token:
                kind = "Token" if _LEGACY_TOKEN.fullmatch(self.access.token) else "Bearer"
                api = self.client.api_client
                api.set_default_header("Authorization", f"{kind} {self.access.token}")
                # Behind no proxy, CVAT fails at large uploads without it; in sessions cvat-sdk sends it by itself.
                api.set_default_header("Origin", "/".join(self.access.url.split("/")[:3]))
            else:
                self._open_session()
            self._logged_in = True

    def _open_session(self) -> None:
        access = self.access
        api = self.client.api_client
        api.cookies.clear()
        api.configuration.api_key.pop("csrfHeaderAuth", None)
        try:
            self.client.login((access.username, access.password))
        except exceptions.ApiException as error:
            if error.status in TRANSIENT or not error.status:
                raise trouble_of(error) from None
            if error.status in (400, 401, 403):
                raise LostError(
                    f"CVAT at {access.url} does not let {access.username!r} in; check CVAT_USERNAME and CVAT_PASSWORD"
                ) from None
            raise (self.no_organization() or LostError(self._strange(error))) from None
        except (urllib3.exceptions.HTTPError, OSError) as error:
            raise trouble_of(error) from None
        except (exceptions.OpenApiException, AssertionError, ValueError):
            raise LostError(self._strange()) from None

    def no_organization(self) -> LostError | None:
        """What to say where only an organisation that is not there, or not ours, explains a refusal."""
        name = self.access.organization
        if not name:
            return None
        return LostError(f"{self.who} has no organisation {name!r} at {self.access.url}; check CVAT_ORG and CVAT_URL")

    def _strange(self, error: exceptions.ApiException | None = None) -> str:
        """What to say of something that is no CVAT server."""
        url = self.access.url
        if error is not None and 300 <= (error.status or 0) < 400:
            there = str((error.headers or {}).get("Location") or "elsewhere")
            return f"{url} sends us on to {there}; set CVAT_URL to where CVAT is"
        return f"{url} does not answer as CVAT does{f' ({error.status})' if error else ''}; check CVAT_URL"

    def _once(self, method: str, path: str, body: Any, query: Mapping[str, Any], what: str) -> Any:
        pairs = [(name, str(value)) for name, value in query.items() if value is not None]
        try:
            _, response = self.client.api_client.call_api(
                path, method, query_params=pairs, body=body, header_params={"Accept": "application/vnd.cvat+json"}
            )
        except (exceptions.ApiException, urllib3.exceptions.HTTPError, OSError) as error:
            raise self.refusal(error, what or f"{method} {path}") from None
        if not response.data:
            return None
        try:
            return json.loads(response.data)
        except ValueError:
            raise LostError(self._strange()) from None

    def refusal(self, error: Exception, what: str) -> Exception:
        """What an error of the server, or of the connection, is to us: an error in words, or trouble that may pass."""
        if not isinstance(error, exceptions.ApiException) or error.status in TRANSIENT or not error.status:
            return trouble_of(error)
        url = self.access.url
        if error.status == 401:
            if self.access.token:
                return LostError(
                    f"CVAT at {url} does not accept the token (any more); make a new one in CVAT and set CVAT_TOKEN"
                )
            self._logged_in = False  # the session has ended: another log-in, at the next try
            return Trouble("the session has ended", 401)
        if error.status == 403:
            return ForbiddenError(
                f"{what}: CVAT does not allow it to {self.who} ({said(error)}); ask for the right, or be somebody else"
            )
        if error.status == 404:
            return GoneError(f"{what}: not in CVAT any more, or not for {self.who} to see")
        if 300 <= error.status < 400:
            return LostError(self._strange(error))
        return DeskError(f"{what}: CVAT refuses ({error.status}: {said(error)})")
