"""Every refusal names the field, the reason and the way out."""

from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from finetune_inference.artifact.compatibility import AdapterFacts, BaseFacts, findings
from finetune_inference.contract import EngineKind, EngineLimits, EngineSpec
from tests.engines.artifacts import BASE_CONFIG, BASE_DIGEST, AdapterFiles

VLLM = EngineSpec(kind=EngineKind.VLLM, limits=EngineLimits(max_lora_rank=8))
OURS = EngineSpec(kind=EngineKind.TRANSFORMERS, limits=EngineLimits(max_lora_rank=8))
ONE, OTHER = "sha256:" + "1" * 64, "sha256:" + "2" * 64
CONFIG: dict[str, Any] = {"peft_type": "LORA", "task_type": "CAUSAL_LM", "r": 4, "target_modules": ["q_proj", "v_proj"], "bias": "none"}
FACTS: dict[str, Any] = {
    "weights": "Adapter",
    "base": {"digest": BASE_DIGEST},
    "template": {"tokenizerDigest": ONE, "chatTemplateDigest": ONE},
}
TENSORS = {name: tensor.shape for name, tensor in AdapterFiles().tensors().items()}
FILES = ("adapter_config.json", "adapter_model.safetensors", "finetune.json")
GOOD = AdapterFacts(FILES, CONFIG, FACTS, TENSORS)
BASE = BaseFacts(digest=BASE_DIGEST, config=BASE_CONFIG, tokenizer_digest=ONE, template_digest=ONE, knows_template=True)
Q_PROJ = "base_model.model.model.layers.0.self_attn.q_proj"


@dataclass(frozen=True)
class Case:
    """``config`` and ``tensors`` are merged into a good adapter's; a tensor of None is taken away."""

    says: str
    field: str
    reason: str
    way_out: str
    config: dict[str, Any] = field(default_factory=dict)
    tensors: dict[str, tuple[int, ...] | None] = field(default_factory=dict)
    changes: dict[str, Any] = field(default_factory=dict)
    base: dict[str, Any] = field(default_factory=dict)
    engine: EngineSpec = VLLM

    def adapter(self) -> AdapterFacts:
        tensors = {name: shape for name, shape in {**TENSORS, **self.tensors}.items() if shape is not None}
        return replace(GOOD, **{"config": {**CONFIG, **self.config}, "tensors": tensors, **self.changes})


CASES = [
    Case("IA3 on vLLM", "adapter_config.json:peft_type", "PeftTypeUnsupported", "mode: Merged", {"peft_type": "IA3"}),
    Case(
        "prompt tuning on vLLM",
        "adapter_config.json:peft_type",
        "PeftTypeUnsupported",
        "engine Transformers",
        {"peft_type": "PROMPT_TUNING"},
    ),
    Case(
        "prefix tuning on vLLM",
        "adapter_config.json:peft_type",
        "PeftTypeUnsupported",
        "engine Transformers",
        {"peft_type": "PREFIX_TUNING"},
    ),
    Case("LoHa on our server", "adapter_config.json:peft_type", "PeftTypeUnsupported", "mode: Merged", {"peft_type": "LOHA"}, engine=OURS),
    Case("a classifier", "adapter_config.json:task_type", "TaskUnsupported", "CAUSAL_LM", {"task_type": "SEQ_CLS"}),
    Case(
        "rank above the server's",
        "adapter_config.json:r",
        "RankTooHigh",
        "maxLoraRank (now 8)",
        {"r": 16},
        dict.fromkeys(TENSORS) | {f"{Q_PROJ}.lora_A.weight": (16, 16), f"{Q_PROJ}.lora_B.weight": (16, 16)},
    ),
    Case("rank that is no number", "adapter_config.json:r", "RankInvalid", "Train it again", {"r": "4"}),
    Case(
        "a module's rank above the server's",
        "adapter_config.json:rank_pattern.k_proj",
        "RankTooHigh",
        "maxLoraRank",
        {"rank_pattern": {"k_proj": 32}},
    ),
    Case(
        "a module's rank that is no number",
        "adapter_config.json:rank_pattern.k_proj",
        "RankInvalid",
        "Train it again",
        {"rank_pattern": {"k_proj": 0}},
    ),
    Case("DoRA on vLLM", "adapter_config.json:use_dora", "DoraUnsupported", "mode: Merged", {"use_dora": True}),
    Case(
        "a variant vLLM has no code for",
        "adapter_config.json:layer_replication",
        "VariantUnsupported",
        "LoRA",
        {"layer_replication": [[0, 2]]},
    ),
    Case(
        "an initialisation that moves base weights",
        "adapter_config.json:init_lora_weights",
        "InitialisationUnsupported",
        "plain LoRA",
        {"init_lora_weights": "pissa_niter_4"},
        engine=OURS,
    ),
    Case("biases of the base", "adapter_config.json:bias", "BiasUnsupported", "mode: Merged", {"bias": "all"}, engine=OURS),
    Case("biases in the adapter on vLLM", "adapter_config.json:lora_bias", "BiasUnsupported", "mode: Merged", {"lora_bias": True}),
    Case(
        "whole modules on vLLM",
        "adapter_config.json:modules_to_save",
        "ExtraModulesSaved",
        "mode: Merged",
        {"modules_to_save": ["lm_head"]},
    ),
    Case(
        "token rows on vLLM",
        "adapter_config.json:trainable_token_indices",
        "ExtraModulesSaved",
        "mode: Merged",
        {"trainable_token_indices": [3]},
    ),
    Case(
        "a target the base lacks",
        "adapter_config.json:target_modules",
        "TargetModuleUnknown",
        "base model it was trained on",
        {"target_modules": ["q_proj", "v_proj", "query_key_value"]},
    ),
    Case(
        "a layer the base lacks",
        "tensor:model.layers.7.self_attn.q_proj",
        "TargetModuleUnknown",
        "base model it was trained on",
        tensors={
            "base_model.model.model.layers.7.self_attn.q_proj.lora_A.weight": (4, 16),
            "base_model.model.model.layers.7.self_attn.q_proj.lora_B.weight": (16, 4),
        },
    ),
    Case(
        "a wider base",
        "tensor:model.layers.0.self_attn.q_proj",
        "ShapeMismatch",
        "base model it was trained on",
        tensors={f"{Q_PROJ}.lora_A.weight": (4, 32)},
    ),
    Case(
        "half a pair",
        "tensor:model.layers.0.self_attn.q_proj",
        "TensorsUnpaired",
        "Publish the artifact again",
        tensors={f"{Q_PROJ}.lora_B.weight": None},
    ),
    Case(
        "a rank other than declared",
        "tensor:model.layers.0.self_attn.q_proj",
        "RankMismatch",
        "Publish the artifact again",
        tensors={f"{Q_PROJ}.lora_A.weight": (2, 16), f"{Q_PROJ}.lora_B.weight": (16, 2)},
    ),
    Case("a name PEFT never gives", "tensor:layers.0.q.down", "TensorUnknown", "save_pretrained", tensors={"layers.0.q.down": (4, 16)}),
    Case("another base model", "finetune.json:base.digest", "BaseMismatch", "Serve that base model", base={"digest": OTHER}),
    Case(
        "another tokenizer",
        "finetune.json:template.tokenizerDigest",
        "TokenizerMismatch",
        "as it was at training",
        base={"tokenizer_digest": OTHER},
    ),
    Case(
        "another chat template",
        "finetune.json:template.chatTemplateDigest",
        "TemplateMismatch",
        "template of the training",
        base={"template_digest": OTHER},
    ),
    Case(
        "a chat template that is gone",
        "finetune.json:template.chatTemplateDigest",
        "TemplateMismatch",
        "template of the training",
        base={"template_digest": None},
    ),
    Case("a pickle", "adapter_model.bin", "PickleRefused", "safetensors", changes={"files": (*FILES, "adapter_model.bin")}),
    Case(
        "code that travels along",
        "tokenizer_config.json",
        "RemoteCodeRefused",
        "Remove auto_map",
        changes={"runs_code": ("tokenizer_config.json",)},
    ),
    Case("a whole model", "finetune.json:weights", "NotAnAdapter", "serves adapters", changes={"facts": {"weights": "Model"}}),
    Case("a folder of something else", "adapter_config.json", "NotAnAdapter", "save_pretrained", changes={"config": None, "facts": None}),
    Case("no weights", "files", "WeightsMissing", "Publish the artifact again", changes={"tensors": {}}),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.says)
def test_refused_with_field_reason_and_way_out(case: Case) -> None:
    found = findings(case.adapter(), replace(BASE, **case.base), case.engine)
    assert [(finding.field, finding.reason) for finding in found] == [(case.field, case.reason)]
    assert case.way_out in found[0].way_out
    assert found[0].message


ACCEPTED: list[tuple[str, dict[str, Any], EngineSpec]] = [
    ("plain LoRA on vLLM", {}, VLLM),
    ("rank-stabilised LoRA on vLLM", {"use_rslora": True}, VLLM),
    ("a rank per module", {"r": 2, "rank_pattern": {"q_proj": 4, "self_attn.v_proj": 4}}, VLLM),
    ("DoRA on our server", {"use_dora": True}, OURS),
    ("whole modules on our server", {"modules_to_save": ["lm_head"]}, OURS),
    ("targets as an expression", {"target_modules": ".*(q|v)_proj"}, VLLM),
]


@pytest.mark.parametrize(("says", "config", "engine"), ACCEPTED, ids=[says for says, _, _ in ACCEPTED])
def test_accepted(says: str, config: dict[str, Any], engine: EngineSpec) -> None:
    assert findings(replace(GOOD, config={**CONFIG, **config}), BASE, engine) == ()


@pytest.mark.parametrize("kind", ["IA3", "PREFIX_TUNING", "PROMPT_TUNING", "P_TUNING"])
def test_what_our_server_serves_beyond_lora_is_accepted_there(kind: str) -> None:
    adapter = replace(GOOD, config={"peft_type": kind, "task_type": "CAUSAL_LM"}, tensors={"prompt_embeddings": (8, 16)})
    assert findings(adapter, BASE, OURS) == ()


def test_what_is_not_known_of_the_base_is_not_held_against_an_adapter() -> None:
    assert findings(GOOD, BaseFacts(), VLLM) == ()
    assert findings(replace(GOOD, facts=None), BASE, VLLM) == ()
    assert findings(GOOD, replace(BASE, config={**BASE_CONFIG, "model_type": "unheard-of"}), VLLM) == ()


def test_an_expression_in_a_rank_pattern_is_never_run() -> None:
    hostile = {"rank_pattern": {"(a+)+$": 4}}
    tensors = {f"base_model.model.{'a' * 60}.lora_{part}.weight": shape for part, shape in (("A", (2, 16)), ("B", (16, 2)))}
    assert findings(replace(GOOD, config={**CONFIG, **hostile}, tensors=tensors), BaseFacts(), VLLM) == ()


def test_findings_are_bounded_however_many_tensors_are_wrong() -> None:
    tensors = {f"junk.{'x' * 300}.{number}": (1,) for number in range(5000)}
    found = findings(replace(GOOD, tensors=tensors), BASE, VLLM)
    assert len(found) == 8
    assert all(len(finding.field) <= 160 for finding in found)


_KEYS = st.sampled_from([*CONFIG, *FACTS, "rank_pattern", "modules_to_save", "init_lora_weights", "use_dora", "digest", "model_type"])
_ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=2000),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_KEYS | st.text(max_size=300), inner, max_size=3),
    max_leaves=12,
)
_DOCUMENT = st.dictionaries(_KEYS, _ANYTHING, max_size=8)
_SHAPES = st.lists(st.integers(0, 64), max_size=3).map(tuple)


@given(
    config=_DOCUMENT,
    facts=st.none() | _DOCUMENT,
    base=_DOCUMENT,
    tensors=st.dictionaries(st.sampled_from(sorted(TENSORS)) | st.text(max_size=300), _SHAPES, max_size=6),
    engine=st.sampled_from([VLLM, OURS]),
)
def test_whatever_the_files_say_the_answer_is_findings_and_no_exception(
    config: dict[str, Any], facts: dict[str, Any] | None, base: dict[str, Any], tensors: dict[str, tuple[int, ...]], engine: EngineSpec
) -> None:
    adapter = AdapterFacts(FILES, {**CONFIG, **config}, facts, tensors)
    found = findings(adapter, replace(BASE, config={**BASE_CONFIG, **base}), engine)
    assert len(found) <= 16
