"""Requests to an API server that does what it should not."""

from pathlib import Path
from typing import Any

import pytest

from finetune_inference.kubernetes import client
from finetune_inference.kubernetes.access import Access
from finetune_inference.kubernetes.client import ApiClient, Event, Opened
from finetune_inference.kubernetes.errors import ApiError, Away, Expired, Refused, Unreadable
from finetune_inference.kubernetes.selection import adapter_deployments
from tests.serving.api_client import odd_server
from tests.serving.api_client.odd_server import event, lines, page, serving, status

ALL = adapter_deployments("team-a")


async def watched(access: Access, **options: Any) -> list[Event]:
    found = []
    async with ApiClient(access, "test", **options) as api:
        async for one in api.watch(ALL, "7"):
            if not isinstance(one, Opened):
                found.append(one)
    return found


async def listed(access: Access) -> list[tuple[list[str], str]]:
    async with ApiClient(access, "test") as api:
        return [([one["metadata"]["name"] for one in part.items], part.resource_version) async for part in api.pages(ALL)]


async def test_a_list_comes_in_pages_under_the_version_of_its_first(crt: Path, token_file: Path):
    async with serving(crt, token_file, page("a", "b", more="next"), lines()) as server:

        async def second(request):
            return await page("c", version="9")(request)

        first = server.on_list

        async def both(request):
            return await (second if request.query.get("continue") == "next" else first)(request)

        server.on_list = both
        assert await listed(server.access) == [(["a", "b"], "7"), (["c"], "7")]
        request = server.asked[0]
        assert request.path == "/apis/finetune.dev/v1alpha1/namespaces/team-a/adapterdeployments"
        assert (request.query["limit"], "resourceVersion" in request.query) == ("100", False)
        assert (request.headers["Authorization"], request.headers["User-Agent"]) == ("Bearer secret-1", "test")


async def test_the_token_is_read_for_every_request(crt: Path, token_file: Path):
    async with serving(crt, token_file, page(), lines()) as server, ApiClient(server.access, "test") as api:
        for token in ("secret-1", "secret-2"):
            token_file.write_text(token)  # noqa: ASYNC240  one word
            assert [part async for part in api.pages(ALL)]
        assert [request.headers["Authorization"] for request in server.asked] == ["Bearer secret-1", "Bearer secret-2"]


async def test_events_are_whole_however_they_are_cut(crt: Path, token_file: Path):
    text = event("ADDED", "a") + b"\n" + event("BOOKMARK", "", "9") + event("DELETED", "a", "10")
    async with serving(crt, token_file, page(), lines(*(text[at : at + 5] for at in range(0, len(text), 5)))) as server:
        found = await watched(server.access)
        assert [(one.type, one.resource_version) for one in found] == [("ADDED", "8"), ("BOOKMARK", "9"), ("DELETED", "10")]
        query = server.asked[0].query
        assert (query["allowWatchBookmarks"], query["resourceVersion"]) == ("true", "7")
        assert 240 <= int(query["timeoutSeconds"]) <= 480


ENDS: dict[str, tuple[bytes, type[ApiError], str]] = {
    "no JSON": (b"{}}\n", Unreadable, "no JSON"),
    "no object": (b"[]\n", Unreadable, "no object"),
    "no event": (b"{}\n", Unreadable, "none"),
    "an unknown kind": (event("CHANGED", "a"), Unreadable, "unknown kind"),
    "no version": (b'{"type": "ADDED", "object": {"metadata": {}}}\n', Unreadable, "unknown kind"),
    "forgotten": (b'{"type": "ERROR", "object": {"code": 410, "reason": "Expired", "message": "old"}}\n', Expired, "410 Expired: old"),
    "an error": (b'{"type": "ERROR", "object": {"code": 500, "message": "etcd"}}\n', Unreadable, "500 without a reason: etcd"),
    "too long": (b"x" * 5000, Unreadable, "larger than"),
    "too long, whole": (b"x" * 5000 + b"\n", Unreadable, "larger than"),
}


@pytest.mark.parametrize(("line", "kind", "words"), ENDS.values(), ids=ENDS)
async def test_a_line_that_is_none_ends_the_watch(
    crt: Path, token_file: Path, monkeypatch: pytest.MonkeyPatch, line: bytes, kind: type[ApiError], words: str
):
    monkeypatch.setattr(client, "LINE_LIMIT", 4096)
    async with serving(crt, token_file, page(), lines(line, hang=True)) as server:
        with pytest.raises(kind, match=words):
            await watched(server.access)


REFUSALS: dict[str, tuple[odd_server.Answer, type[ApiError], str]] = {
    "forbidden": (status(403, '{"reason": "Forbidden", "message": "no"}'), Refused, "list adapterdeployments: 403 Forbidden: no"),
    "no kind": (status(404, "404 page not found"), Refused, "404"),
    "too many": (status(429, "{}", **{"Retry-After": "3"}), Away, "429"),
    "a gateway's page": (status(502, "<html>"), Unreadable, "502"),
    "a page that is none": (status(200, "<html>"), Unreadable, "no JSON"),
    "a page without end": (status(200, "x" * 70_000), Unreadable, "larger than"),
    "a way to elsewhere": (status(307, "", Location="https://127.0.0.1:1/"), Refused, "307"),
}


@pytest.mark.parametrize(("answer", "kind", "words"), REFUSALS.values(), ids=REFUSALS)
async def test_an_answer_that_is_no_list_is_an_error_of_its_class(
    crt: Path, token_file: Path, monkeypatch: pytest.MonkeyPatch, answer: odd_server.Answer, kind: type[ApiError], words: str
):
    monkeypatch.setattr(client, "PAGE_LIMIT", 65_536)
    async with serving(crt, token_file, answer, lines()) as server:
        with pytest.raises(kind, match=words) as raised:
            await listed(server.access)
        assert raised.value.retry_after == (3.0 if "429" in words else 0.0)


async def test_a_silent_watch_is_given_up(crt: Path, token_file: Path):
    async with serving(crt, token_file, page(), lines(event("ADDED", "a"), hang=True)) as server:
        with pytest.raises(Away, match="is away"):
            await watched(server.access, silence=0.2)


async def test_another_authority_is_not_believed_and_gets_no_token(crt: Path, token_file: Path, tmp_path: Path):
    other = odd_server.certificate(tmp_path)
    async with serving(crt, token_file, page(), lines()) as server:
        with pytest.raises(Away, match="CERTIFICATE_VERIFY_FAILED"):
            await listed(Access(server.access.url, other, token_file))
        assert server.asked == []


async def test_files_that_are_missing_are_named(crt: Path, token_file: Path, tmp_path: Path):
    for access in (
        Access("https://127.0.0.1:1", tmp_path / "no-ca", token_file),
        Access("https://127.0.0.1:1", crt, tmp_path / "no-token"),
    ):
        with pytest.raises(Away, match=r"no-(ca|token): No such file"):
            await listed(access)
    with pytest.raises(Away, match="token"):
        await listed(Access("https://127.0.0.1:1", token_file, token_file))


async def test_nobody_at_the_address_is_away(crt: Path, token_file: Path):
    with pytest.raises(Away, match=r"https://127\.0\.0\.1:1 is away"):
        await listed(Access("https://127.0.0.1:1", crt, token_file))
