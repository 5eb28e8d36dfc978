"""Lists as CVAT's API gives them: filters, search, JSON logic, order and pages."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from itertools import pairwise
from typing import Any
from urllib.parse import urlencode

from .routing import Refusal, Reply, Request, bad_request

Field = Callable[[dict[str, Any]], Any]
PAGE_SIZE = 10


def listing(
    request: Request,
    records: Iterable[dict[str, Any]],
    serialize: Callable[[dict[str, Any]], Any],
    fields: Mapping[str, Field],
    *,
    search: tuple[str, ...] = (),
    order: str = "-id",
) -> Reply:
    """One page of the records that the query asks for.

    Args:
        request: its query is read.
        records: all that the user may see.
        serialize: gives the JSON of one record.
        fields: what can be filtered and sorted by, and how it is found in a record.
        search: the fields that ``search=`` looks into.
        order: the order where the query names none.
    """
    chosen = list(records)
    for name, text in request.query.items():
        if name in fields:
            chosen = [record for record in chosen if _plain(fields[name](record)) == _plain(text)]
    if text := request.query.get("search"):
        words = text.casefold()
        chosen = [
            record for record in chosen if any(words in str(fields[name](record) or "").casefold() for name in search)
        ]
    if text := request.query.get("filter"):
        try:
            rule = json.loads(text)
        except ValueError:
            raise bad_request(["The filter is not JSON."]) from None
        chosen = [record for record in chosen if _holds(rule, record, fields)]
    for key in reversed((request.query.get("sort") or order).split(",")):
        name = key.lstrip("-")
        if name in fields:
            chosen.sort(key=lambda record: _rank(fields[name](record)), reverse=key.startswith("-"))
    return _page(request, chosen, serialize)


def _page(request: Request, chosen: list[dict[str, Any]], serialize: Callable[[dict[str, Any]], Any]) -> Reply:
    try:
        size = int(request.query.get("page_size") or PAGE_SIZE)
        page = int(request.query.get("page") or 1)
    except ValueError:
        raise Refusal(404, {"detail": "There is no such page."}) from None
    size = max(1, size)
    last = max(1, -(-len(chosen) // size))
    if not 1 <= page <= last:
        raise Refusal(404, {"detail": "There is no such page."})

    def address(number: int) -> str:
        others = {name: text for name, text in request.query.items() if name != "page"}
        pages = {"page": number} if number > 1 else {}
        query = urlencode(sorted({**others, **pages}.items()))
        return f"{request.url}{request.path}" + (f"?{query}" if query else "")

    return Reply(
        body={
            "count": len(chosen),
            "next": address(page + 1) if page < last else None,
            "previous": address(page - 1) if page > 1 else None,
            "results": [serialize(record) for record in chosen[(page - 1) * size : page * size]],
        }
    )


def _holds(rule: Any, record: dict[str, Any], fields: Mapping[str, Field]) -> bool:
    if not isinstance(rule, dict) or len(rule) != 1:
        raise bad_request(["The filter is no JSON logic."])
    ((operator, operands),) = rule.items()
    if operator == "and":
        return all(_holds(inner, record, fields) for inner in operands)
    if operator == "or":
        return any(_holds(inner, record, fields) for inner in operands)
    if operator == "!":
        return not _holds(operands[0] if isinstance(operands, list) else operands, record, fields)
    values = [_value(operand, record, fields) for operand in operands]
    if operator == "==":
        return _comparable(values[0], values[1], lambda left, right: left == right)
    if operator == "in":
        return values[0] in values[1] if isinstance(values[1], list) else str(values[0]) in str(values[1] or "")
    compare = {
        "<": lambda left, right: left < right,
        "<=": lambda left, right: left <= right,
        ">": lambda left, right: left > right,
        ">=": lambda left, right: left >= right,
    }.get(operator)
    if compare is None:
        raise bad_request([f"The filter's operator {operator} is not supported."])
    return all(_comparable(left, right, compare) for left, right in pairwise(values))


def _value(operand: Any, record: dict[str, Any], fields: Mapping[str, Field]) -> Any:
    if isinstance(operand, dict) and "var" in operand:
        if operand["var"] not in fields:
            raise bad_request([f"The filter's field {operand['var']} is not known."])
        return fields[operand["var"]](record)
    return operand


def _comparable(left: Any, right: Any, compare: Callable[[Any, Any], bool]) -> bool:
    if left is None or right is None:
        return left is right
    moments = _moment(left), _moment(right)
    if moments[0] and moments[1]:
        return compare(*moments)
    if isinstance(left, int | float) != isinstance(right, int | float):
        left, right = str(left), str(right)
    return compare(left, right)


def _moment(value: Any) -> datetime | None:
    if not isinstance(value, str) or value.count("-") < 2:
        return None
    try:
        moment = datetime.fromisoformat(value.replace("Z", "+00:00"))
    except ValueError:
        return None
    return moment if moment.tzinfo else None


def _plain(value: Any) -> str:
    return {True: "true", False: "false", None: ""}.get(value) if isinstance(value, bool | None) else str(value)  # type: ignore[return-value]


def _rank(value: Any) -> tuple[bool, Any]:
    return (value is None, 0 if value is None else value)
