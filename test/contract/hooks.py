"""What an OpenAPI document cannot say of Sluice's requests, for Schemathesis.

A request that was generated as valid is changed here where parts of it exclude or need each other across parameters, headers
and body. What was generated as invalid goes out as it is, but for the attributes of an event. One kind of answer is changed
before it is checked: see `after_call`.
"""

import itertools
import json
import re
from urllib.parse import quote

import schemathesis
from schemathesis.core import NOT_SET
from schemathesis.core.parameters import ParameterLocation

IDEMPOTENCY_KEY = re.compile(r'^(?:"(?:[!#-\[\]-~]|\\["\\]){1,255}"|[!#-~][!-~]{0,254})$')
fresh = itertools.count(1)


@schemathesis.hook
def before_call(context, case, kwargs):
    fresh_key(case)
    path = case.operation.path
    if positive(case):
        there(case)
    if path.endswith("/raw") and positive(case):
        one_key(case)
    elif path.endswith("/events"):
        whole_event(case)
    elif path.endswith("/partitions/{partition}/records") and valid(case, ParameterLocation.QUERY):
        one_position(case)
    elif path.endswith("/records:batch") and valid(case, ParameterLocation.BODY):
        own_ids(case)


def positive(case):
    return case.meta is not None and case.meta.generation.mode.name == "POSITIVE"


def there(case):
    """Which partitions and offsets there are, no schema can say: the topic of the test has three partitions, and the offset 0."""
    query = case.query or {}
    if "partition" in query:
        query["partition"] = 2
    if str(query.get("offset", "")).isdigit():
        query["offset"] = "0"
    body = case.body if isinstance(case.body, dict) else {}
    records = body.get("records", [body])
    for record in records if isinstance(records, list) else []:
        if isinstance(record, dict) and isinstance(record.get("partition"), (int, float)):
            record["partition"] = 2


def valid(case, location):
    return case.meta is not None and not case.meta.is_negative_at(location)


def fresh_key(case):
    """A key that came with another request before is a 422, and no schema can say which came before."""
    for name, value in (case.headers or {}).items():
        if name.lower() == "idempotency-key" and isinstance(value, str) and IDEMPOTENCY_KEY.match(value):
            case.headers[name] = f"contract-{next(fresh)}"


def one_key(case):
    """The key comes from one place; the header or the member of the body that it comes from has to be there."""
    query = case.query or {}
    # What it points at would have to be in the body, and a body that is put there is none that was generated.
    query.pop("keyPointer", None)
    sources = [name for name in ("key", "keyHeader") if name in query]
    for name in sources[1:]:
        del query[name]
    if not sources:
        query.pop("keyEncoding", None)
    base64 = query.get("keyEncoding") == "base64"
    if sources[:1] == ["key"] and base64:
        query["key"] = "a2V5"
    if sources[:1] == ["keyHeader"]:
        query["keyHeader"] = "x-contract-key"
        case.headers["x-contract-key"] = "a2V5"
    if "headers" in query:
        # Which headers may become part of a record is the operator's to say.
        query["headers"] = "x-contract-one,x-contract-two"


def whole_event(case):
    """In binary mode the `ce-` headers are the event; in the other modes they mean nothing."""
    # Without a body there is no Content-Type, whatever was meant to be sent.
    if case.body is not NOT_SET and (case.media_type or "").startswith("application/cloudevents"):
        return
    given = {name.lower(): value for name, value in (case.headers or {}).items()}
    for name in [name for name in case.headers if name.lower().startswith("ce-")]:
        del case.headers[name]
    for name in ("id", "source", "type", "subject", "dataschema", "partitionkey"):
        value = given.get(f"ce-{name}")
        if value is not None or name in ("id", "source", "type"):
            # Percent-encoded, without the control characters that no attribute may have.
            text = re.sub(r"[\x00-\x1f\x7f-\x9f]", "", value or "")
            case.headers[f"ce-{name}"] = quote(text) or "x"
    case.headers["ce-specversion"] = "1.0"
    if "ce-time" in given:
        case.headers["ce-time"] = "2026-01-01T00:00:00Z"


def own_ids(case):
    """The outcome of an entry is told under its id, so no two have the same."""
    entries = case.body.get("entries") if isinstance(case.body, dict) else None
    ids = [entry.get("id") for entry in entries or [] if isinstance(entry, dict)]
    if len({str(id) for id in ids}) != len(ids):
        for i, entry in enumerate(entries):
            entry["id"] = f"{i}"


def one_position(case):
    """`offset` and `timestamp` exclude each other, and the partition has to be there."""
    query = case.query or {}
    if positive(case):
        case.path_parameters["partition"] = 2
    if "offset" in query:
        query.pop("timestamp", None)


@schemathesis.hook
def after_call(context, case, response):
    """Confluent's v3 answers each record with an `error_code` of its own, under one status that was sent before: where no record
    succeeded, the answer is held against what the document says of the status that the first code stands for."""
    if "/v3/" not in case.operation.path or response.status_code not in (200, 207):
        return
    # Not splitlines(): text may hold U+2028.
    answers = [json.loads(line) for line in response.text.split("\n") if line]
    if response.status_code == 207:
        answers = answers[0]["successes"] or [{k: v for k, v in failure.items() if k != "id"} for failure in answers[0]["failures"]]
    codes = [answer.get("error_code", 200) for answer in answers]
    if codes and 200 not in codes:
        response.status_code = codes[0] if codes[0] < 1000 else codes[0] // 100
        response.content = json.dumps(answers[0]).encode()
