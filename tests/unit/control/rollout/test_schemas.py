"""A schema is read when it is needed, kept for a short while, and never mistaken for absent."""

from typing import Any

from finetune_operator.cluster.errors import ApiError, Forbidden, NotFound, Unavailable
from finetune_operator.cluster.resources import Resource
from finetune_operator.control.rollout.schemas import Schemas
from tests.unit.control.rollout.samples import KEY, deployment

CHECKED = deployment(spec={"analysis": {"checks": {"schema": {"configMapRef": {"name": "tickets", "key": "s.json"}}}}})


class Server:
    def __init__(self) -> None:
        self.data: dict[str, str] | None = {"s.json": "{}"}
        self.error: ApiError | None = None
        self.reads = 0

    async def get(self, resource: Resource, namespace: str | None, name: str) -> dict[str, Any]:
        self.reads += 1
        if self.error is not None:
            raise self.error
        if self.data is None:
            raise NotFound("no", status=404)
        return {"data": self.data}


async def test_it_is_kept_for_half_a_minute_and_at_rest_for_ever() -> None:
    server, now = Server(), 100.0
    schemas = Schemas(server, clock=lambda: now)
    assert (await schemas.read(KEY, CHECKED, resting=False)).text == "{}"
    server.data = {"s.json": "[]"}
    now += 20
    assert (await schemas.read(KEY, CHECKED, resting=False)).text == "{}"
    now += 20
    assert (await schemas.read(KEY, CHECKED, resting=True)).text == "{}"
    assert (await schemas.read(KEY, CHECKED, resting=False)).text == "[]"
    assert server.reads == 2


async def test_what_is_not_there_is_none_and_what_cannot_be_read_stays_as_it_was() -> None:
    server = Server()
    assert (await Schemas(server).read(KEY, deployment(), resting=False)).text is None
    assert server.reads == 0
    server.data = {"other": "{}"}
    assert (await Schemas(server).read(KEY, CHECKED, resting=False)).text is None
    server.data = None
    assert (await Schemas(server).read(KEY, CHECKED, resting=False)).text is None
    server.error, server.data = None, {"s.json": "{}"}
    now = 100.0
    schemas = Schemas(server, clock=lambda: now)
    await schemas.read(KEY, CHECKED, resting=False)
    server.error = Unavailable("away")
    now += 60
    assert (await schemas.read(KEY, CHECKED, resting=False)).text == "{}"
    assert (await Schemas(server).read(KEY, CHECKED, resting=False)).text is None
    applied = {**CHECKED, "status": {"route": {"schemaCheck": {"outputSchema": "[]"}}}}
    assert (await Schemas(server).read(KEY, applied, resting=False)).text == "[]", "an operator that has just started"


async def test_why_there_is_none_is_said() -> None:
    server = Server()
    server.data = {"other": "{}"}
    assert "no such key" in (await Schemas(server).read(KEY, CHECKED, resting=False)).problem
    server.data = None
    assert "no such ConfigMap" in (await Schemas(server).read(KEY, CHECKED, resting=False)).problem
    server.error = Forbidden("not yours", status=403)
    assert "not yours" in (await Schemas(server).read(KEY, CHECKED, resting=False)).problem
    assert (await Schemas(server).read(KEY, deployment(), resting=False)).problem == ""
