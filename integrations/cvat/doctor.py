"""Check of the CVAT server, where one is configured."""

from __future__ import annotations

import os

from ..checking import BROKEN, OK, WARNING, Finding, check

PATIENCE = 10.0  # seconds for an answer

_SET = "see docs/sync.md for CVAT_URL, CVAT_TOKEN, CVAT_USERNAME and CVAT_PASSWORD"


@check("CVAT")
def check_cvat() -> Finding:
    """Whether the server answers, knows us and is new enough; nothing is looked at without CVAT_URL."""
    if not os.environ.get("CVAT_URL"):
        others = [name for name in ("CVAT_TOKEN", "CVAT_USERNAME", "CVAT_PASSWORD") if os.environ.get(name)]
        if others:
            return Finding(WARNING, f"{others[0]} is set, but no CVAT_URL", _SET)
        return Finding(OK, "not used: CVAT_URL is not set")
    from ...models.errors import SpamPluginError
    from .client import Access
    from .desk import CvatDesk
    from .trouble import Patience

    try:
        access = Access.from_environment()
        with CvatDesk(access, Patience(tries=1, timeout=PATIENCE)) as desk:
            version = desk.check()
    except SpamPluginError as error:
        return Finding(BROKEN, str(error), _SET)
    who = "by a token" if access.token else f"as {access.username}"
    where = f", in organisation {access.organization}" if access.organization else ""
    return Finding(OK, f"CVAT {version} at {access.url}, {who}{where}")
