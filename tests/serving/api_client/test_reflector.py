"""The copy follows whatever happens, and says when it cannot."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from finetune_inference.kubernetes.client import ApiClient, Object
from finetune_inference.kubernetes.reflector import Reflector
from finetune_inference.kubernetes.selection import adapter_deployments
from tests.serving.api_client.odd_server import OddServer, event, item, lines, page, serving, status

ALL = adapter_deployments("team-a")


class Copy:
    """A running reflector, and a way to wait for what it has."""

    def __init__(self, api: ApiClient) -> None:
        self.changes = 0
        self.reflector: Reflector[Object] = Reflector(api, ALL, lambda found: found, self._changed)

    def _changed(self) -> None:
        self.changes += 1

    async def until(self, wanted: Callable[[], object]) -> None:
        async with asyncio.timeout(20):
            while not wanted():  # noqa: ASYNC110  some conditions are the server's
                await asyncio.sleep(0.005)

    @property
    def names(self) -> set[str]:
        return set(self.reflector.objects)

    @property
    def problem(self) -> str:
        return self.reflector.problem.message if self.reflector.problem else ""


@asynccontextmanager
async def copy_of(server: OddServer) -> AsyncIterator[Copy]:
    async with ApiClient(server.access, "test") as api:
        made = Copy(api)
        task = asyncio.create_task(made.reflector.run())
        try:
            yield made
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


async def test_list_and_watch_make_a_copy(crt: Path, token_file: Path):
    events = (event("ADDED", "c"), event("DELETED", "a"), event("MODIFIED", "b", "11"), event("BOOKMARK", "", "12"))
    async with serving(crt, token_file, page("a", "b"), lines(*events, hang=True)) as server, copy_of(server) as copy:
        await copy.until(lambda: copy.reflector.objects.get("b") == item("b", "11"))
        assert copy.names == {"b", "c"}
        assert copy.reflector.synced


async def test_a_watch_goes_on_from_the_last_version_without_a_list(crt: Path, token_file: Path):
    watch = lines(event("ADDED", "b", "9"), event("BOOKMARK", "", "30"))
    async with serving(crt, token_file, page("a"), watch) as server, copy_of(server) as copy:
        await copy.until(lambda: len(server.asked) > 2)
        assert [request.query.get("resourceVersion") for request in server.asked[:3]] == [None, "7", "30"]
        assert copy.problem == ""


async def test_a_server_that_closes_at_once_is_not_overrun(crt: Path, token_file: Path):
    async with serving(crt, token_file, page("a"), lines()) as server, copy_of(server):
        await asyncio.sleep(1.0)  # the count in a span of time is what is tested
        assert 2 <= len(server.asked) <= 15


async def test_an_event_that_cannot_be_read_is_said_and_listed_around(crt: Path, token_file: Path):
    async with serving(crt, token_file, page("a"), lines(event("ADDED", "b"), b"no event\n")) as server, copy_of(server) as copy:
        await copy.until(lambda: "no JSON" in copy.problem)
        server.on_list, server.on_watch = page("a", "c"), lines(hang=True)
        await copy.until(lambda: copy.names == {"a", "c"} and copy.problem == "")


async def test_a_refusal_is_said_keeps_the_copy_and_is_tried_again_with_a_list(crt: Path, token_file: Path):
    async with serving(crt, token_file, page("a"), status(403, '{"reason": "Forbidden"}')) as server, copy_of(server) as copy:
        await copy.until(lambda: "403 Forbidden" in copy.problem)
        assert copy.names == {"a"}
        server.on_list, server.on_watch = page("b"), lines(hang=True)
        await copy.until(lambda: copy.names == {"b"} and copy.problem == "")


async def test_before_the_first_list_nothing_is_known(crt: Path, token_file: Path):
    async with serving(crt, token_file, status(503, "{}"), lines()) as server, copy_of(server) as copy:
        await copy.until(lambda: "503" in copy.problem)
        assert (copy.reflector.synced, copy.names) == (False, set())


async def test_what_the_api_server_asks_to_wait_is_waited(crt: Path, token_file: Path):
    async with serving(crt, token_file, status(429, "{}", **{"Retry-After": "20"}), lines()) as server, copy_of(server) as copy:
        await copy.until(lambda: "429" in copy.problem)
        await asyncio.sleep(0.5)  # long enough for several tries of the usual pace
        assert server.lists == 1


async def test_an_equal_list_is_no_change(crt: Path, token_file: Path):
    expired = b'{"type": "ERROR", "object": {"code": 410, "reason": "Expired"}}\n'
    async with serving(crt, token_file, page("a"), lines(expired)) as server, copy_of(server) as copy:
        await copy.until(lambda: server.lists >= 3)
        assert copy.changes == 1
