"""Names that dashboards for vLLM know, and series per adapter that begin at zero and end with the adapter."""

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from finetune_inference.server.engine import Load
from finetune_inference.server.metrics import Metrics
from finetune_inference.server.sequence import Finish

SHARED = {
    "process_start_time_seconds",
    "vllm:num_requests_running",
    "vllm:num_requests_waiting",
    "vllm:time_to_first_token_seconds",
    "vllm:inter_token_latency_seconds",
    "vllm:e2e_request_latency_seconds",
    "vllm:request_success",
    "vllm:prompt_tokens",
    "vllm:generation_tokens",
}


class Board:
    """What a scrape sees."""

    def __init__(self) -> None:
        self.load = Load()
        self.metrics = Metrics("base", 4)
        self.metrics.watch(lambda: self.load)

    def samples(self) -> Iterator[Any]:
        for family in text_string_to_metric_families(self.metrics.exposition().decode()):
            yield from family.samples

    def value(self, name: str, **labels: str) -> float | None:
        found = [sample.value for sample in self.samples() if sample.name == name and labels.items() <= sample.labels.items()]
        return found[0] if found else None

    def families(self) -> set[str]:
        return {family.name for family in text_string_to_metric_families(self.metrics.exposition().decode())}


@pytest.fixture
def board() -> Board:
    return Board()


def sequence(label: str, **fields: Any) -> Any:
    return SimpleNamespace(**{"label": label, "generated": 0, "arrived": 10.0, "prompt": [1, 2, 3], "last_token_at": 0.0, **fields})


def test_vllms_names_are_there_from_the_start(board: Board) -> None:
    assert board.families() >= SHARED
    for reason in Finish:
        assert board.value("vllm:request_success_total", finished_reason=reason.value, model_name="base") == 0


def test_a_request_is_counted_where_it_belongs(board: Board) -> None:
    board.metrics.adapter_loaded("a", 8)
    board.metrics.token(sequence("a"), 10.5)
    board.metrics.token(sequence("a", generated=1, last_token_at=10.5), 10.6)
    board.metrics.finished(sequence("a", generated=2), Finish.STOP, 11.0)
    assert board.value("vllm:time_to_first_token_seconds_sum") == 0.5
    assert board.value("vllm:inter_token_latency_seconds_count") == 1
    assert board.value("vllm:e2e_request_latency_seconds_sum") == 1.0
    assert board.value("vllm:prompt_tokens_total") == 3
    assert board.value("vllm:generation_tokens_total") == 2
    assert board.value("finetune_server_adapter_requests_total", adapter="a", finished_reason="stop") == 1
    assert board.value("finetune_server_adapter_generation_tokens_total", adapter="a") == 2


def test_an_adapters_series_begin_at_zero_and_end_with_it(board: Board) -> None:
    assert board.value("finetune_server_adapter_loaded", adapter="a") is None
    board.metrics.adapter_loaded("a", 8)
    assert board.value("finetune_server_adapter_loaded", adapter="a", rank="8") == 1
    assert board.value("finetune_server_adapter_requests_total", adapter="a", finished_reason="error") == 0
    board.metrics.adapter_gone("a")
    board.metrics.finished(sequence("a"), Finish.STOP, 11.0)
    assert [sample for sample in board.samples() if sample.labels.get("adapter") == "a"] == []


def test_adapters_in_use_are_listed_once_one_was_used(board: Board) -> None:
    assert board.value("vllm:lora_requests_info") is None
    board.load = Load(running=("b", "", "a", "a"), waiting=("c",))
    assert board.value("vllm:num_requests_running") == 4
    assert board.value("vllm:lora_requests_info", max_lora="4", running_lora_adapters="a,b", waiting_lora_adapters="c") is not None
    board.load = Load()
    assert board.value("vllm:lora_requests_info") is None
    board.metrics.token(sequence("a"), 11.0)
    assert board.value("vllm:lora_requests_info", running_lora_adapters="", waiting_lora_adapters="") is not None
