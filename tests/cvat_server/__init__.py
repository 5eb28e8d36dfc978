"""A stand-in for a CVAT server, for the tests: the part of its REST API that a sync needs, kept in memory.

It behaves as recorded exchanges with a real server say (``tests/integrations/cvat/test_contract.py``)::

    with CvatServer() as server:
        task = cvat_sdk.make_client(server.url, credentials=(server.username, server.password)).tasks.retrieve(1)
"""

from .faults import Fault, Faults
from .http import Record
from .server import CvatServer

__all__ = ["CvatServer", "Fault", "Faults", "Record"]
