"""Two accounts of one run are compared where both speak."""

from finetune_record import chain, keys
from finetune_record.statement import Statement
from finetune_record.trainer_record import disagreements
from tests.unit.record import examples


def stated(versions: dict[str, str]) -> Statement:
    sections = examples.sections()
    sections = sections.model_copy(update={"code": sections.code.model_copy(update={"versions": versions})})
    link = chain.next_link("clinic", None, examples.NOW, keys.key_id(examples.KEY.public_key()))
    return Statement.of(sections, examples.files(), link)


def test_versions_that_only_the_trainer_tells_contradict_nobody() -> None:
    told = {"versions": {"torch": "2.15.0"}}
    assert list(disagreements(told, stated({}))) == []
    (problem,) = disagreements(told, stated({"torch": "2.14.0"}))
    assert "versions.torch" in problem.where
