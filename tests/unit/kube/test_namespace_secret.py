"""The key of a namespace's engines, as its Secret has it."""

from typing import Any

import pytest

from finetune_operator.cluster.errors import ApiError, NotFound, Unavailable
from finetune_operator.cluster.resources import Resource
from finetune_operator.cluster.secrets import FORGOTTEN_SECONDS, KEPT_SECONDS, NamespaceSecret


class Api:
    def __init__(self, *answers: dict[str, Any] | ApiError) -> None:
        self.answers = list(answers)

    async def get(self, resource: Resource, namespace: str | None, name: str) -> dict[str, Any]:
        assert (resource.plural, name) == ("secrets", "engine-key")
        answer = self.answers.pop(0)
        if isinstance(answer, ApiError):
            raise answer
        return answer


@pytest.mark.parametrize(
    ("answer", "value"),
    [
        ({"data": {"key": "YSBrZXkK"}}, "a key"),
        ({"data": {"other": "YQ=="}}, None),
        ({"data": None}, None),
        ({"data": {"key": "no base64"}}, None),
        ({"data": {"key": "/w=="}}, None),
        ({"data": {"key": ""}}, None),
        (NotFound("gone", status=404), None),
    ],
)
async def test_what_is_in_it(answer: dict[str, Any] | ApiError, value: str | None) -> None:
    assert await NamespaceSecret(Api(answer), "engine-key", "key").value("team") == value


async def test_it_is_read_once_in_a_while_and_kept_while_the_api_server_is_away() -> None:
    now = [0.0]
    api = Api({"data": {"key": "YQ=="}}, Unavailable("away"), {"data": {"key": "Yg=="}})
    secret = NamespaceSecret(api, "engine-key", "key", clock=lambda: now[0])
    assert [await secret.value("team"), await secret.value("team")] == ["a", "a"]
    now[0] += KEPT_SECONDS
    assert await secret.value("team") == "a"
    secret.forget("team")
    assert await secret.value("team") == "b"
    assert api.answers == []


async def test_a_namespace_that_nobody_asks_about_any_more_is_forgotten() -> None:
    now = [0.0]
    secret = NamespaceSecret(Api(*[{"data": {"key": "YQ=="}}] * 3), "engine-key", "key", clock=lambda: now[0])
    await secret.value("team")
    await secret.value("other")
    assert len(secret) == 2
    now[0] += FORGOTTEN_SECONDS
    await secret.value("other")
    assert len(secret) == 1
