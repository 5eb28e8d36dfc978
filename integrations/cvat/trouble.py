"""What goes wrong between us and a server: what may pass, how long to wait for it, and what it is called in words."""

from __future__ import annotations

import email.utils
import logging
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import urllib3
from cvat_sdk.api_client.rest import RESTClientObject
from cvat_sdk.exceptions import ApiException

TRANSIENT = (429, 500, 502, 503, 504)
_REFUSED = (429, 503)  # the server has not begun with the request
_UPLOADING = ("Upload-Start", "Upload-Multiple", "Upload-Finish", "Tus-Resumable")
_LONGEST_ASKED = 600.0  # seconds that a server may ask us to wait

logger = logging.getLogger(__name__)


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

    def wait(self, attempt: int, asked: float | None = None) -> None:
        """Waits before another try, at least as long as the server asks."""
        self.sleep(max(self.delay(attempt), asked or 0.0))


class Trouble(Exception):
    """A request went wrong in a way that may pass; the work may or may not have been done.

    Args:
        why: in words.
        status: of HTTP, or 0 if there was no answer.
        retry_after: seconds that the server asks to wait.
        slow: whether the server may still be at it.
    """

    def __init__(self, why: str, status: int = 0, retry_after: float | None = None, slow: bool = False) -> None:
        super().__init__(why)
        self.why, self.status, self.retry_after, self.slow = why, status, retry_after, slow


class PatientRest(RESTClientObject):
    """What cvat-sdk sends its requests with; never waits for ever, and does not give up an upload over a trifle.

    Uploads are many requests, and most may not be sent twice, as the server adds what comes to what it has. So only
    those are sent again that it has certainly not begun with.

    Args:
        configuration: of cvat-sdk.
        patience: with what is broken for a moment.
    """

    def __init__(self, configuration: Any, patience: Patience) -> None:
        # Whoever sends a request decides whether it may be sent again. A redirection turns POST into GET.
        configuration.retries = False
        super().__init__(configuration)
        self._patience = patience

    def request(self, method: str, url: str, **options: Any) -> Any:
        """Sends one request; see cvat-sdk."""
        options["_request_timeout"] = options.get("_request_timeout") or self._patience.timeout
        headers = options.pop("headers", None) or {}
        tries = self._patience.tries if any(name in headers for name in _UPLOADING) else 1
        for attempt in range(1, tries + 1):
            asked = None
            try:
                return super().request(method, url, headers=dict(headers), **options)
            except ApiException as error:
                # cvat-sdk decodes it without looking.
                error.body = (error.body or b"").decode("utf-8", "replace").encode()
                if error.status not in _REFUSED or attempt == tries:
                    raise
                asked, why = retry_after(error), str(error.status)
            except (urllib3.exceptions.NewConnectionError, urllib3.exceptions.ConnectTimeoutError) as error:
                if attempt == tries:
                    raise
                why = in_words(error)
            logger.info("upload: %s; trying again", why)
            self._patience.wait(attempt, asked)
        raise AssertionError("unreachable")


def trouble_of(error: Exception) -> Trouble:
    """What an error of the server, or of the connection, is to us."""
    if isinstance(error, ApiException):
        status = error.status or 0
        return Trouble(f"{status}: {said(error)}" if status else said(error), status, retry_after(error), status == 504)
    return Trouble(in_words(error), slow=isinstance(error, urllib3.exceptions.ReadTimeoutError))


def retry_after(error: ApiException) -> float | None:
    """Seconds that the server asks to wait."""
    given = str((error.headers or {}).get("Retry-After") or "").strip()
    if re.fullmatch(r"\d+(\.\d+)?", given):
        return min(float(given), _LONGEST_ASKED)
    try:
        moment = email.utils.parsedate_to_datetime(given).timestamp()
    except (TypeError, ValueError):
        return None
    return min(max(moment - time.time(), 0.0), _LONGEST_ASKED)


def said(error: ApiException) -> str:
    """The server's words, in one line."""
    body = error.body.decode("utf-8", "replace") if isinstance(error.body, bytes) else str(error.body or "")
    words = " ".join(re.sub(r"(?s)<(style|script).*?</\1>|<[^>]+>", " ", body).split())[:300]
    return words or " ".join(str(error.reason or "").split()) or "no reason given"


def in_words(error: BaseException) -> str:
    """Why there was no answer, without addresses of objects."""
    inner = getattr(error, "reason", None)
    inner = inner if isinstance(inner, BaseException) else error
    refused = isinstance(inner, urllib3.exceptions.NewConnectionError)  # urllib3 counts it as a timeout, too
    if isinstance(inner, urllib3.exceptions.TimeoutError) and not refused:
        return "no answer in time"
    text = " ".join(str(inner).split())
    # urllib3 says where it was connecting to, which the reader knows, before it says what was wrong.
    text = re.sub(r"^.*?(object at 0x\w+>|port=\d+\)): ", "", text)
    found = re.search(r"\[Errno -?\d+\] ([^)\]'\"]+)", text)
    return (found.group(1).strip() if found else text)[:200] or type(inner).__name__
