"""Requests as the worker makes them."""

EXECUTION = "01890a5d-ac96-774b-bcce-b302099a8057"


def request(node_type="agent", config=None, data=None, **more):
    """A request of the protocol."""
    return {
        "protocol": 1,
        "execution_id": EXECUTION,
        "node_id": "n1",
        "node_type": node_type,
        "config": config or {},
        "input": data or {},
        "variables": {"workflow": {"a": 1}},
        "locals": {},
        "attempt": 1,
        "visit": 1,
        "idempotency_key": f"{EXECUTION}:n1:1",
        "deadline": "2999-01-01T00:00:00.000Z",
        "timeout_seconds": 300.0,
    } | more
