"""Promotions and rollbacks under constant streaming load: no request fails, nobody gets what no route names, a verdict is obeyed at once.

``FINETUNE_FULL_SIZE=1`` makes ten cycles with the inference server of ours too.
"""

import itertools
import json
import os
from pathlib import Path
from typing import Any

import pytest

from finetune_inference.artifact.reading import base_facts
from finetune_testbed.bed import Testbed
from tests.cluster.serving.chain import chain
from tests.cluster.serving.chronicle import Chronicle
from tests.cluster.serving.evidence import assert_nobody_returns, assert_prompt, assert_served, summary
from tests.cluster.serving.pods import our_engine
from tests.cluster.serving_site import NAME, Site
from tests.engines.artifacts import BASE_NAME, Published
from tests.engines.forked import request
from tests.process.server.conftest import Forge

CYCLES = 10
OUR_CYCLES = 10 if os.environ.get("FINETUNE_FULL_SIZE") else 2
DRAIN = 10
ROLLBACK = {"keepStableLoadedSeconds": 600, "drainTimeoutSeconds": DRAIN}

ENDLESS = {"canary": {"steps": [{"weight": 50, "bakeSeconds": 86_400, "analysis": []}]}}
"""For what a person takes back."""


def steps(checks: list[str], *weights: int) -> dict[str, Any]:
    """They end with the requests that they need."""
    return {"canary": {"steps": [{"weight": weight, "bakeSeconds": 0, "analysis": checks} for weight in weights]}}


class Answers:
    """What the fake engines say for each version: JSON that names it, of the right shape or of another."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self.texts: dict[str, str] = {}

    def add(self, adapter: Published, field: str) -> Published:
        version = adapter.name(NAME)
        self.texts[version] = json.dumps({field: version, "why": "so many words of a ticket went there"})
        for server in self._site.servers:
            server.fault(answer=self.texts)
        return adapter


@pytest.mark.timeout(1200)
def test_ten_cycles_fail_no_request_and_each_verdict_is_obeyed_within_two_seconds(t1: Testbed, tmp_path: Path) -> None:
    checks = {"errors": {}, "schema": {"configMapRef": {"name": NAME}}}
    spec = {
        "strategy": steps(["Errors", "Schema"], 40, 70),
        "analysis": {"minRequests": 5, "maxWaitSeconds": 600, "checks": checks},
        "rollback": ROLLBACK,
        "server": {"managed": {"engine": "vLLM"}, "capacity": {"maxCpuLoras": 12}},
    }
    with chain(t1, tmp_path, spec, servers=2) as here:
        site, answers = here.site, Answers(here.site)
        adapters = (site.publish(seed) for seed in itertools.count(1))
        good, bad = [answers.add(next(adapters), "team")], []
        here.promote(good[0])
        options: dict[str, Any] = {"callers": 100, "reads": True, "keeps": False}
        with (
            site.traffic(25.0, document={"fake_token_seconds": 0.03}, **options) as load,
            site.traffic(1.0, document={"fake_token_seconds": 0.3}, **options) as long,
        ):
            for _ in range(CYCLES):
                good.append(answers.add(next(adapters), "team"))
                here.promote(good[-1])
                bad.append(answers.add(next(adapters), "colour"))
                here.apply(bad[-1])
                assert "Schema" in here.wait_taken_back(bad[-1])
                here.promote(good[-2])  # loaded still: all callers get it at once
        records = [*load.records, *long.records]
        load.write(tmp_path / "load.jsonl")
        chronicle = Chronicle(site)
        print(summary(records))
        assert_served(records, chronicle, answers.texts)
        assert {record.version for record in records} == set(answers.texts)
        seen = assert_nobody_returns(records, chronicle)
        print(f"{seen} times it was certain whom a caller should get at a weight, and that was who answered")
        assert seen > 10 * CYCLES
        assert unloaded_in_use(site) == 0 or max(record.last for record in records) >= DRAIN - 1
        verdicts = here.verdicts(chronicle)
        assert [verdict.version for verdict in verdicts] == [adapter.name(NAME) for adapter in bad]
        print(assert_prompt(verdicts, load.records))


@pytest.mark.timeout(1200)
def test_cycles_with_the_server_of_ours_fail_no_request(t1: Testbed, tmp_path: Path, forge: Forge, tiny_base: Path) -> None:
    spec = {
        "server": {"managed": {"engine": "Transformers", "replicas": 1}},
        "strategy": steps(["Errors"], 50),
        "analysis": {"minRequests": 3, "maxWaitSeconds": 600},
        "rollback": ROLLBACK | {"keepStableLoadedSeconds": 0},  # its slots are few
    }
    known = base_facts(tiny_base, None)
    template = {"tokenizerDigest": known.tokenizer_digest, "chatTemplateDigest": known.template_digest}
    files: dict[str, Any] = {"base": known.config, "facts": {"template": template}}
    ask: dict[str, Any] = {"max_tokens": 16, "temperature": 0, "ignore_eos": True}
    with chain(t1, tmp_path, spec, program=our_engine(forge, tiny_base)) as here:
        adapters = (here.site.publish(seed, **files) for seed in itertools.count(1))
        here.promote(next(adapters))
        with here.site.traffic(6.0, callers=40, reads=True, keeps=False, document=ask) as load:
            for _ in range(OUR_CYCLES):
                here.promote(next(adapters))
                unwanted = next(adapters)
                version = here.apply(unwanted, strategy=ENDLESS)
                here.wait(lambda _, version=version: any(record.version == version for record in load.records), f"answers of {version}")
                here.order("abort")
                here.wait_taken_back(unwanted)
        load.write(tmp_path / "load.jsonl")
        chronicle = Chronicle(here.site)
        print(summary(load.records))
        texts = {record.version: record.text for record in load.records}
        assert_served(load.records, chronicle, texts)
        assert len({*texts.values(), said_by_the_base(here.site, ask)}) == 2 * OUR_CYCLES + 2, "what is said tells who said it"
        verdicts = here.verdicts(chronicle)
        assert len(verdicts) == OUR_CYCLES
        print(assert_prompt(verdicts, load.records))


def unloaded_in_use(site: Site) -> int:
    """Streams of versions that were taken out of the fake engines before they had come to their end."""
    counts = [json.loads(request("GET", f"{server.url}/faults")[1])["counts"] for server in site.servers]
    return sum(count.get("unloadedInUse", 0) for count in counts)


def said_by_the_base(site: Site, ask: dict[str, Any]) -> str:
    """The answer that nobody may get."""
    body = {"model": BASE_NAME, "messages": [{"role": "user", "content": "hello"}], **ask}
    status, answer = request("POST", f"{site.servers[0].url}/v1/chat/completions", body)
    assert status == 200, answer
    return str(json.loads(answer)["choices"][0]["message"]["content"])
