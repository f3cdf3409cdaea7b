"""Probes take turns, are few at a time, and need a token."""

import asyncio

import pytest

from finetune_operator.cluster.serving import NoAnswer
from finetune_operator.control.rollout.probing import AT_A_LOOK, AT_ONCE, Prober, order_of
from finetune_operator.domain.rollout.plan import Probes
from tests.unit.control.rollout.samples import KEY


class Client:
    def __init__(self, *, fails: bool = False, defect: type[Exception] | None = None) -> None:
        self.sent: list[tuple[str, str, str]] = []
        self.open = self.most = 0
        self._fails = fails
        self.defect = defect

    async def probe(self, ip: str, alias: str, version: str, token: str) -> None:
        assert token == "token"
        self.sent.append((ip, alias, version))
        self.open += 1
        self.most = max(self.most, self.open)
        await asyncio.sleep(0)
        self.open -= 1
        if self._fails:
            raise NoAnswer
        if self.defect is not None:
            raise self.defect("odd")


async def finished(prober: Prober) -> None:
    while prober._running:
        await asyncio.gather(*prober._running.values(), return_exceptions=True)
        await asyncio.sleep(0)


def test_versions_take_turns_until_a_look_has_sent_its_share() -> None:
    assert order_of(Probes((("a", 3), ("b", 1)))) == ["a", "b", "a", "a"]
    assert len(order_of(Probes((("a", 500), ("b", 500))))) == AT_A_LOOK


async def test_routers_share_the_probes_and_a_second_round_waits_for_the_first() -> None:
    client, results = Client(), list[str]()
    prober = Prober(client, lambda: "token", sent=results.append)
    for _ in range(3):
        prober.send(KEY, "bot", Probes((("a", 10),)), ["10.0.0.1", "10.0.0.2"])
    await finished(prober)
    assert len(client.sent) == 10
    assert sum(ip == "10.0.0.1" for ip, _, _ in client.sent) == 5
    assert 0 < client.most <= AT_ONCE
    assert results == ["ok"] * 10


async def test_without_token_or_router_nothing_is_sent() -> None:
    client = Client()
    Prober(client, lambda: "").send(KEY, "bot", Probes((("a", 10),)), ["10.0.0.1"])
    Prober(client, lambda: "token").send(KEY, "bot", Probes((("a", 10),)), [])
    await asyncio.sleep(0)
    assert client.sent == []


async def test_a_failed_probe_is_counted_and_ends_nothing() -> None:
    results = list[str]()
    prober = Prober(Client(fails=True), lambda: "token", sent=results.append)
    prober.send(KEY, "bot", Probes((("a", 3),)), ["10.0.0.1"])
    await finished(prober)
    assert results == ["failed"] * 3
    await prober.close()


async def test_a_defect_is_logged_once_for_each_kind_with_its_key_and_traceback(caplog: pytest.LogCaptureFixture) -> None:
    client = Client(defect=ValueError)
    prober = Prober(client, lambda: "token")
    for defect in (ValueError, ValueError, TypeError):
        client.defect = defect
        prober.send(KEY, "bot", Probes((("a", 3),)), ["10.0.0.1"])
        await finished(prober)
    assert [(record.levelname, record.__dict__["key"]) for record in caplog.records] == [("ERROR", str(KEY))] * 2
    assert [record.exc_info[0] for record in caplog.records if record.exc_info] == [ValueError, TypeError]
    client.defect = None
    prober.send(KEY, "bot", Probes((("a", 3),)), ["10.0.0.1"])
    before = len(client.sent)
    await finished(prober)
    assert len(client.sent) == before + 3, "the next round is sent"
