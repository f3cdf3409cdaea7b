"""Our own server as a judge: what the trainer asks in the words of OpenAI's API, a real server of it understands."""

from finetune_trainer.contract import Judge
from finetune_trainer.evaluation.judge import Judging
from finetune_trainer.evaluation.judge.endpoint import Access, JudgeEndpoint
from tests.process.server.conftest import Server, until
from tests.unit.trainer.evaluation.judged import numbered


def test_a_random_model_answers_as_a_judge_and_is_not_believed(server: Server) -> None:
    judge = Judge(endpoint=f"{server.url}/v1", model="lora")
    before = server.metric("vllm:request_success_total")
    found = Judging(connect=lambda: JudgeEndpoint(judge, Access(), 7), stop=lambda: False).calibrate(numbered(4))
    assert (found.usable, found.calibration_pairs, found.calibration_right) == (False, 4, 0)
    assert "of 4 a verdict could not be read" in found.message
    assert found.model == "lora"
    until(lambda: server.metric("vllm:request_success_total") == before + 8, "eight counted")
