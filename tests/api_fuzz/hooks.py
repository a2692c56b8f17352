"""What the OpenAPI document cannot say, said to Schemathesis.

A schema bounds every member by itself. That a plan exists, that one member excludes another, that an Idempotency-Key is
used once: such rules are applied here to the requests that are meant to be accepted. Requests that are meant to be refused
are left as they are.
"""

import copy
import datetime
import json
import os
import uuid

import requests
import schemathesis

URL = os.environ["TOLLGATE_FUZZ_URL"]
TOKEN = os.environ["TOLLGATE_FUZZ_TOKEN"]
# Operations about the caller's own key; an admin token has no limits.
OF_CLIENTS = {"/api/public/v1/rate-limit/validate", "/api/v1/rate-limit/info"}
EVENTS = "/api/v1/usage/events"
# Below the 64 KiB that a body may have.
MAX_BODY = 60_000


def api(method, path, body=None):
    """Asks the service for something that the requests need."""
    headers = {"Authorization": f"Bearer {TOKEN}"}
    answer = requests.request(method, URL + path, json=body, headers=headers, timeout=20)
    answer.raise_for_status()
    return answer.json()["data"]


def new_key():
    return api("POST", "/api/v1/api-keys", {"name": "fuzzed", "tier": "enterprise"})


def new_plan():
    name = "fuzzed-" + uuid.uuid4().hex
    limits = [{"name": "per-hour", "limit": 1000, "window": 3600}]
    prices = {"currency": "USD", "base": "0.00", "overage_unit": "0.00"}
    return api("POST", "/api/v1/plans", {"name": name, "limits": limits, "prices": prices})


def new_token():
    return api("POST", "/api/v1/tokens", {"name": "fuzzed", "scopes": ["keys:read"]})


# The key that clients call with. Nothing else is done to it.
CLIENT = new_key()
# The token that everything is asked with must neither be changed nor deleted.
OWN_TOKEN = api("GET", "/api/v1/whoami")["id"]


@schemathesis.hook
def before_call(context, case, kwargs):
    path = case.operation.path
    is_own = (case.path_parameters or {}).get("id") == OWN_TOKEN
    if is_own and path.startswith("/api/v1/tokens") and case.method.upper() != "GET":
        case.path_parameters["id"] = str(uuid.uuid4())
    credential = (case.headers or {}).get("Authorization")
    if path in OF_CLIENTS and credential == f"Bearer {TOKEN}":
        case.headers["Authorization"] = f"Bearer {CLIENT['key']}"
    if path in OF_CLIENTS and (case.headers or {}).get("X-API-Key") == TOKEN:
        case.headers["X-API-Key"] = CLIENT["key"]
    if case.meta is None or case.meta.generation.mode.is_negative:
        return
    if "Idempotency-Key" in (case.headers or {}):
        case.headers["Idempotency-Key"] = str(uuid.uuid4())
    if "If-Match" in (case.headers or {}):
        case.headers["If-Match"] = "*"
    if case.query:
        case.query = acceptable_query(dict(case.query))
    # Links lead to things that there are.
    if case.meta.phase.name.value != "stateful" and "{id}" in path:
        case.path_parameters["id"] = existing(path, case.method.upper())
    if path == EVENTS:
        # With them the body is another thing: the data of one event.
        for name in [name for name in case.headers or {} if name.lower().startswith("ce-")]:
            del case.headers[name]
    if isinstance(case.body, (dict, list)):
        case.body = acceptable(copy.deepcopy(case.body))
        if path == "/api/v1/rate-limit/{id}":
            # The keys here have no bucket.
            case.body.pop("burst", None)


def existing(path, method):
    """The id of a thing that the operation may be done to; a new one where that may be its end."""
    if path.startswith("/api/v1/jobs"):
        return "no-such-job"
    make = {"plans": new_plan, "tokens": new_token}.get(path.split("/")[3], new_key)
    return make()["id"]


def acceptable_query(query):
    # Of cursors only our own are any good.
    query.pop("cursor", None)
    today = datetime.datetime.now(datetime.timezone.utc).date()
    for name, days_ago in {"start_date": 3, "end_date": 0}.items():
        if name in query:
            query[name] = str(today - datetime.timedelta(days=days_ago))
    return query


def acceptable(body):
    if isinstance(body, list):
        return shortened([acceptable(item) for item in body])
    if not isinstance(body, dict):
        return body
    if "specversion" in body:
        return cloud_event(body)
    body = {name: member(name, value) for name, value in body.items()}
    for name in ("checks", "events"):
        if name in body:
            body[name] = shortened(body[name])
    return body


def shortened(items):
    while len(json.dumps(items)) > MAX_BODY:
        items = items[: len(items) // 2]
    return items


def cloud_event(event):
    """Without extensions, whose names the schema leaves open, and under a name that no other event has."""
    known = {name: event[name] for name in ("specversion", "source", "type", "dataschema", "data") if name in event}
    return known | {"id": str(uuid.uuid4()), "subject": CLIENT["id"], "time": now()}


def now():
    return datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


def member(name, value):
    if value is None:
        return None
    if name == "tier":
        return "standard"
    if name == "metadata":
        # Any JSON would do but for control characters, size and depth.
        return {"team": "payments", "size": len(str(value))}
    if name == "limits":
        return limits(value)
    if name in ("key", "api_key"):
        return CLIENT["key"]
    if name == "api_key_id":
        return CLIENT["id"]
    if name == "expires_at":
        return "2035-01-01T00:00:00Z"
    if name == "timestamp":
        return now()
    return acceptable(value)


def limits(value):
    """Each name once, and of members that exclude each other one."""
    by_name = {limit["name"]: limit for limit in value}
    for limit in by_name.values():
        algorithm = limit.get("algorithm", "sliding_window")
        if algorithm != "fixed_window":
            limit.pop("calendar", None)
        if algorithm != "token_bucket":
            limit.pop("burst", None)
        if algorithm == "sliding_log":
            limit["limit"] = min(limit["limit"], 1000)
        if limit.get("calendar"):
            limit.pop("window", None)
            limit["calendar"].update(timezone="Europe/Berlin", anchor_day=1)
        else:
            limit.setdefault("window", 3600)
        if limit.get("burst"):
            # An empty bucket has to be full within ten years.
            limit["burst"] = min(limit["burst"], limit["limit"])
    # The plan has one, too.
    return list(by_name.values())[:15]
