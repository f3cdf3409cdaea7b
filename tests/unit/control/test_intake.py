"""What the list and watch of our own kind bring reaches cache and queue once, in the right order."""

from typing import Any

from finetune_operator.cluster.cache import Key, ParentStore
from finetune_operator.control.intake import Intake
from finetune_operator.control.queue import WorkQueue


def finetunejob(name: str, version: int, *, settled: bool = False, uid: str = "u") -> dict[str, Any]:
    metadata = {"namespace": "ns", "name": name, "uid": f"{uid}-{name}", "resourceVersion": str(version), "generation": 1}
    status = {"observedGeneration": 1, "conditions": [{"type": "Reconciling", "status": "False"}]} if settled else {}
    return {"metadata": metadata, "status": status}


class Fed:
    """An intake with a cache and a queue behind it."""

    def __init__(self) -> None:
        self.gone = list[str]()
        self.parents, self.queue = ParentStore(on_gone=lambda key: self.gone.append(key.name)), WorkQueue[Key]()
        self.intake = Intake(self.parents, self.queue)

    def listed(self, *objects: dict[str, Any], version: int) -> None:
        for item in objects:
            self.intake.put(item)
        self.intake.replace({("ns", item["metadata"]["name"]) for item in objects}, str(version), None)

    async def taken(self) -> list[str]:
        found = []
        while len(self.queue):
            key = await self.queue.get()
            self.queue.done(key)
            found.append(key.name)
        return found


async def test_what_is_under_way_comes_before_what_is_at_rest_and_rest_waits_for_the_whole_list() -> None:
    fed = Fed()
    fed.intake.put(finetunejob("rest", 1, settled=True))
    fed.intake.put(finetunejob("busy", 2))
    assert len(fed.queue) == 1
    fed.intake.replace({("ns", "rest"), ("ns", "busy")}, "2", None)
    assert await fed.taken() == ["busy", "rest"]


async def test_a_job_without_a_status_does_not_wait_for_those_under_way() -> None:
    fed = Fed()
    busy = finetunejob("busy", 1)
    busy["status"] = {"observedGeneration": 1, "conditions": [{"type": "Reconciling", "status": "True"}]}
    fed.intake.put(busy)
    fed.intake.put(finetunejob("new", 2))
    assert await fed.taken() == ["new", "busy"]


async def test_a_second_list_of_the_same_objects_asks_for_nothing() -> None:
    fed = Fed()
    objects = [finetunejob("rest", 1, settled=True), finetunejob("busy", 2)]
    fed.listed(*objects, version=2)
    await fed.taken()
    fed.listed(*objects, version=9)
    assert await fed.taken() == []


async def test_what_a_second_list_does_not_bring_is_gone_unless_it_is_younger() -> None:
    fed = Fed()
    fed.listed(finetunejob("stays", 1), finetunejob("goes", 2), version=2)
    await fed.taken()
    fed.intake.put(finetunejob("younger", 7))
    fed.listed(finetunejob("stays", 1), version=5)
    assert set(await fed.taken()) == {"goes", "younger"}
    assert {key.name for key in fed.parents} == {"stays", "younger"}
    assert fed.gone == ["goes"]


async def test_the_list_of_one_namespace_says_nothing_about_another() -> None:
    fed = Fed()
    fed.listed(finetunejob("stays", 1), version=1)
    fed.intake.replace(set(), "5", "elsewhere")
    assert Key("ns", "stays") in fed.parents
    fed.intake.replace(set(), "5", "ns")
    assert Key("ns", "stays") not in fed.parents


async def test_a_deletion_of_a_predecessor_changes_nothing() -> None:
    fed = Fed()
    fed.listed(finetunejob("a", 5, uid="new"), version=5)
    await fed.taken()
    fed.intake.remove(finetunejob("a", 4, uid="old"))
    assert await fed.taken() == []
    fed.intake.remove(finetunejob("a", 6, uid="new"))
    assert await fed.taken() == ["a"]
    assert fed.gone == ["a"]


async def test_our_own_write_coming_back_asks_for_nothing_and_a_change_by_others_does() -> None:
    fed = Fed()
    fed.listed(finetunejob("a", 1), version=1)
    await fed.taken()
    fed.parents.put(finetunejob("a", 2))
    fed.intake.put(finetunejob("a", 2))
    assert await fed.taken() == []
    fed.intake.put(finetunejob("a", 3))
    assert await fed.taken() == ["a"]
