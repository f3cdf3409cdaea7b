"""What agents and checks make of signed records in a governed namespace of a real API server, and what everything is labelled with."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from finetune_testbed.bed import Testbed
from tests.cluster import governed_serving, operator_process
from tests.cluster.checked_site import checker
from tests.cluster.finetunejobs import Object
from tests.cluster.governed_serving import DECLARED, GovernedSite
from tests.cluster.operator_process import until
from tests.engines.records import PUBLIC, record
from tests.unit.record.examples import OTHER_KEY

IMAGES = ("--inference-image", "registry.invalid/finetune-inference:test")


@pytest.fixture
def governed(t1: Testbed, tmp_path: Path) -> Iterator[GovernedSite]:
    with governed_serving.site(t1, tmp_path) as here:
        yield here


@pytest.fixture
def key(tmp_path: Path) -> tuple[str, str]:
    """Options of an operator that knows whose records to believe, and signs none itself."""
    (tmp_path / "public.pem").write_text(PUBLIC)
    return "--verification-key", str(tmp_path / "public.pem")


def test_an_agent_lets_no_engine_see_what_it_cannot_verify(governed: GovernedSite, tmp_path: Path, key: tuple[str, str]) -> None:
    site = governed.site
    good, unsigned, edited, forged, high = (site.publish(seed) for seed in range(1, 6))
    governed.made_of("train", [(each, "tickets") for each in (good, unsigned, edited, forged, high)], signed=True)
    record(good)
    record(edited, change=lambda content: content.replace(b'"payload":"e', b'"payload":"f'))
    record(forged, key=OTHER_KEY)
    record(high, level="confidential")
    refused = {unsigned: "Unverified", edited: "Unverified", forged: "Unverified", high: "AdapterNotCleared"}
    with operator_process.running(site.place.bed.kubeconfig, tmp_path, governed.arguments(*key)):
        governed.deploy("tickets", good)
        status = site.wait_phase("Healthy")
        assert status["desired"]["proof"]["versions"] == [good.name("tickets")]
        for adapter, reason in refused.items():
            governed.deploy("tickets", adapter)
            failed = site.wait(
                lambda status, digest=adapter.digest: [each for each in status.get("failedVersions") or [] if each["digest"] == digest],
                f"refused: {reason}",
            )["failedVersions"][0]
            assert failed["reason"] == reason
            assert f"pod server-0 refuses {adapter.name('tickets')}: {reason}: record: " in failed["message"]
            site.wait(lambda _, reason=reason: site.condition("Ready")["reason"] == reason, f"told: {reason}")
            assert site.condition("Governed")["status"] == "False"
            assert site.status()["stable"]["digest"] == good.digest
            digits = adapter.digest.removeprefix("sha256:")
            assert not list((site.folder / "server-0").rglob(digits)), "not a file of it was taken into the store"


def test_a_check_tells_the_operator_what_the_record_of_a_typed_uri_says(
    governed: GovernedSite, tmp_path: Path, key: tuple[str, str]
) -> None:
    site = governed.site
    nobody, known = site.publish(1), site.publish(2)
    record(known, data="newer", namespace=site.place.namespace)
    with checker(site), operator_process.running(site.place.bed.kubeconfig, tmp_path, governed.arguments(*key, *IMAGES)):
        governed.deploy("tickets", nobody, server={"managed": {"engine": "Transformers", "replicas": 1}})
        site.wait(lambda _: site.condition("Governed").get("status") == "False", "an adapter that nobody knows counts as restricted")
        assert "AdapterNotCleared" in site.condition("Governed")["message"]
        assert not objects(governed, "deployments", "apps/v1"), "and nothing was made for it but the check"
        governed.deploy("tickets", known, server={"managed": {"engine": "Transformers", "replicas": 1}})
        status = site.wait_phase("Healthy")
        (checked,) = (each for each in status["checked"] if each["digest"] == known.digest)
        assert checked["record"]["signature"] == "Valid"
        for name in ("server-tickets", "finetune-router"):
            until(lambda name=name: labelled(objects(governed, "deployments", "apps/v1"), name))
        jobs = objects(governed, "jobs", "batch/v1")
        assert all(job["metadata"]["labels"]["finetune.dev/level"] == "internal" for job in jobs)
        governed.people.register("newer", uri="pvc://data/newer.jsonl")
        governed.withdraw("newer")
        site.wait(lambda _: site.condition("Governed").get("reason") == "Revoked", "revoked by what the record names")
        site.wait(lambda status: not status["route"].get("stable"), "answered by nobody")


def test_only_a_higher_level_changes_the_pods_of_the_servers(governed: GovernedSite, tmp_path: Path) -> None:
    site = governed.site
    low, same, high = (site.publish(seed) for seed in range(1, 4))
    governed.people.label({"finetune.dev/clearance-level": "confidential"})
    governed.people.demand(licences={"allow": ["*"]}, requireProofs=False, requireDigests=False)
    governed.made_of("train-low", [(low, "a"), (same, "a")])
    governed.made_of("train-high", [(high, "b")], level="confidential")
    server = {"managed": {"engine": "Transformers", "replicas": 1}}
    with checker(site), operator_process.running(site.place.bed.kubeconfig, tmp_path, governed.arguments(*IMAGES)):
        governed.deploy("tickets", low, server=server)
        site.wait_phase("Healthy")
        before = template(governed)
        governed.deploy("tickets", same, server=server)
        site.wait(lambda status: (status.get("stable") or {}).get("digest") == same.digest, "the second")
        assert template(governed) == before
        labels = {**DECLARED, "finetune.dev/level": "confidential"}
        governed.deploy("tickets", high, labels=labels, server=server)
        site.wait(lambda status: (status.get("stable") or {}).get("digest") == high.digest, "the third")
        until(lambda: template(governed)["metadata"]["labels"]["finetune.dev/level"] == "confidential")


def objects(governed: GovernedSite, plural: str, group: str) -> list[Object]:
    place = governed.site.place
    items: list[Object] = place.server.request("GET", place.path(plural, group=group))["items"]
    return items


def labelled(made: list[Object], name: str) -> bool:
    """Whether the object and its pods say how sensitive it is what they hold."""
    found = next(each for each in made if each["metadata"]["name"] == name)
    places = (found["metadata"], found["spec"]["template"]["metadata"])
    return all(place["labels"].get("finetune.dev/level") == "internal" for place in places)


def template(governed: GovernedSite) -> Object:
    made = objects(governed, "deployments", "apps/v1")
    found: Object = next(each["spec"]["template"] for each in made if each["metadata"]["name"] == "server-tickets")
    return found
