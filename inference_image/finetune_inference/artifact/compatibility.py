"""Can this engine serve this adapter on this base model? Pure, and without torch: the operator's preflight step asks the same question.

Every rule yields findings with the field, the reason and the way out. What an engine refuses, and what it would take and then answer
wrongly (another base, template or tokenizer), is refused here alike, before a byte reaches it.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any

from finetune_inference.artifact.base_shape import base_shape
from finetune_inference.artifact.contents import ADAPTER_CONFIG, FACTS_FILE, PICKLE_SUFFIXES
from finetune_inference.artifact.shapes import shape_findings
from finetune_inference.contract import EngineKind, EngineSpec, Finding
from finetune_trainer.contract import Digest

_MERGE = "Deploy it with mode: Merged, or train it again with tuner LoRA."
_OWN_SERVER = "It cannot be merged: serve it with engine Transformers, or train it again with tuner LoRA."
_RETRAIN = "Train it again with tuner LoRA or RSLoRA."
_PROMPTS = frozenset({"PREFIX_TUNING", "PROMPT_TUNING", "P_TUNING"})
_OUR_TYPES = frozenset({"LORA", "IA3"}) | _PROMPTS
_MOST = 16
_MOST_RANKS = 1024
_SHIFTING_STARTS = ("pissa", "olora", "corda", "loftq", "lora_ga")
"""Initialisations that move part of the base weights into the adapter: right only on a base that was changed with them."""


@dataclass(frozen=True)
class AdapterFacts:
    """``config`` is adapter_config.json, ``facts`` finetune.json, ``tensors`` the shapes in the weights' headers."""

    files: tuple[str, ...]
    config: Mapping[str, Any] | None
    facts: Mapping[str, Any] | None = None
    tensors: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    runs_code: tuple[str, ...] = ()


@dataclass(frozen=True)
class BaseFacts:
    """What is known of the served base model; what is None is not checked."""

    digest: Digest | None = None
    config: Mapping[str, Any] | None = None
    tokenizer_digest: Digest | None = None
    template_digest: Digest | None = None
    knows_template: bool = False


Rule = Callable[[Mapping[str, Any], EngineSpec], Iterator[Finding]]


def findings(adapter: AdapterFacts, base: BaseFacts, engine: EngineSpec) -> tuple[Finding, ...]:
    """What stands against serving ``adapter``, at most sixteen findings; empty if nothing does."""
    found = [*_files(adapter), *_template(adapter.facts, base)]
    if adapter.config is None or (adapter.facts or {}).get("weights") == "Model":
        return (*found, _not_an_adapter(adapter))
    found += [finding for rule in (_type, _rank, _variant, _extras) for finding in rule(adapter.config, engine)]
    if str(adapter.config.get("peft_type")).upper() == "LORA":
        found += shape_findings(adapter.config, adapter.tensors, base_shape(base.config))
    return tuple(found[:_MOST])


def _files(adapter: AdapterFacts) -> Iterator[Finding]:
    for name in adapter.files:
        if PurePosixPath(name).suffix.lower() in PICKLE_SUFFIXES:
            yield _finding(name, "PickleRefused", "loading this format can run code", "Save the adapter again as safetensors.")
    for name in adapter.runs_code:
        yield _finding(name, "RemoteCodeRefused", "asks for code that travels with it (auto_map)", "Remove auto_map and publish it again.")
    if not adapter.tensors:
        yield _finding("files", "WeightsMissing", "no safetensors file holds a tensor", "Publish the artifact again, with its weights.")


def _not_an_adapter(adapter: AdapterFacts) -> Finding:
    if (adapter.facts or {}).get("weights") == "Model" or "config.json" in adapter.files:
        return _finding(
            f"{FACTS_FILE}:weights",
            "NotAnAdapter",
            "this artifact is a whole model",
            "An AdapterDeployment serves adapters: deploy the one it was made from, or run the model on a server of your own.",
        )
    return _finding(ADAPTER_CONFIG, "NotAnAdapter", "the file is missing", "Point uri at a folder that save_pretrained wrote.")


def _template(facts: Mapping[str, Any] | None, base: BaseFacts) -> Iterator[Finding]:
    """An adapter answers well only on the base and behind the tokenizer and template it was trained with."""
    if facts is None:
        return
    trained_on = _section(facts, "base").get("digest")
    if base.digest is not None and trained_on is not None and trained_on != base.digest:
        message = f"trained on {trained_on}, served is {base.digest}"
        yield _finding(f"{FACTS_FILE}:base.digest", "BaseMismatch", message, "Serve that base model, or train again on this one.")
    template = _section(facts, "template")
    tokenizer = template.get("tokenizerDigest")
    if base.tokenizer_digest is not None and tokenizer is not None and tokenizer != base.tokenizer_digest:
        yield _finding(
            f"{FACTS_FILE}:template.tokenizerDigest",
            "TokenizerMismatch",
            "the served base model's tokenizer files are not those it was trained with",
            "Serve the base model's folder as it was at training, or train again.",
        )
    if base.knows_template and "tokenizerDigest" in template and template.get("chatTemplateDigest") != base.template_digest:
        yield _finding(
            f"{FACTS_FILE}:template.chatTemplateDigest",
            "TemplateMismatch",
            "the served base model's chat template is not the one it was trained with",
            "Serve the base model with the template of the training, or train again.",
        )


def _type(config: Mapping[str, Any], engine: EngineSpec) -> Iterator[Finding]:
    kind, where = str(config.get("peft_type")).upper(), f"{ADAPTER_CONFIG}:peft_type"
    if engine.kind is EngineKind.VLLM and kind in _PROMPTS:
        yield _finding(where, "PeftTypeUnsupported", f"vLLM serves no {kind} adapters", _OWN_SERVER)
    elif engine.kind is EngineKind.VLLM and kind != "LORA":
        yield _finding(where, "PeftTypeUnsupported", f"vLLM serves no {kind[:40]} adapters", _MERGE)
    elif kind not in _OUR_TYPES:
        yield _finding(where, "PeftTypeUnsupported", f"no {kind[:40]} adapters are served", _MERGE)
    task = config.get("task_type")
    if task not in (None, "CAUSAL_LM"):  # it may be anything, also what has no hash
        message = f"{str(task)[:40]} is not text generation"
        yield _finding(f"{ADAPTER_CONFIG}:task_type", "TaskUnsupported", message, "Deploy an adapter trained for CAUSAL_LM.")


def _rank(config: Mapping[str, Any], engine: EngineSpec) -> Iterator[Finding]:
    if str(config.get("peft_type")).upper() != "LORA":
        return
    limit = engine.limits.max_lora_rank
    way_out = f"Raise maxLoraRank (now {limit}) of the server, train with a lower rank, or deploy with mode: Merged."
    declared = [("r", config.get("r")), *((f"rank_pattern.{module}", rank) for module, rank in _section(config, "rank_pattern").items())]
    for name, rank in declared[:_MOST_RANKS]:
        if not isinstance(rank, int) or isinstance(rank, bool) or rank < 1:
            yield _finding(f"{ADAPTER_CONFIG}:{name}", "RankInvalid", "is no positive whole number", _RETRAIN)
        elif rank > limit:
            yield _finding(f"{ADAPTER_CONFIG}:{name}", "RankTooHigh", f"rank {rank}, the server takes {limit}", way_out)


def _variant(config: Mapping[str, Any], engine: EngineSpec) -> Iterator[Finding]:
    """Kinds of LoRA that an engine would refuse, or take and answer wrongly."""
    start = config.get("init_lora_weights")
    if isinstance(start, str) and start.lower().startswith(_SHIFTING_STARTS):
        message = f"{start[:40]} moves base weights into the adapter, and the served base is unchanged"
        yield _finding(f"{ADAPTER_CONFIG}:init_lora_weights", "InitialisationUnsupported", message, f"Convert it to plain LoRA. {_RETRAIN}")
    if engine.kind is not EngineKind.VLLM:
        return
    if config.get("use_dora"):
        yield _finding(f"{ADAPTER_CONFIG}:use_dora", "DoraUnsupported", "vLLM serves no DoRA", _MERGE)
    for name in ("alora_invocation_tokens", "layer_replication", "use_bdlora", "use_qalora", "target_parameters", "arrow_config"):
        if config.get(name):
            yield _finding(f"{ADAPTER_CONFIG}:{name}", "VariantUnsupported", "vLLM serves no adapters of this kind", _RETRAIN)


def _extras(config: Mapping[str, Any], engine: EngineSpec) -> Iterator[Finding]:
    """Weights beside the low-rank ones."""
    if config.get("bias", "none") != "none":
        message = "it changes the base model's own biases, which other adapters share"
        yield _finding(f"{ADAPTER_CONFIG}:bias", "BiasUnsupported", message, _MERGE)
    if engine.kind is not EngineKind.VLLM:
        return
    if config.get("lora_bias"):
        yield _finding(f"{ADAPTER_CONFIG}:lora_bias", "BiasUnsupported", "vLLM serves no biases in adapters", _MERGE)
    for name in ("modules_to_save", "trainable_token_indices"):
        if config.get(name):
            message = "vLLM serves no whole modules or token rows in adapters"
            yield _finding(f"{ADAPTER_CONFIG}:{name}", "ExtraModulesSaved", message, _MERGE)


def _section(document: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    value = document.get(name)
    return value if isinstance(value, dict) else {}


def _finding(where: str, reason: str, message: str, way_out: str) -> Finding:
    """Names and values in it may be a stranger's, of any length."""
    return Finding(field=where[:160], reason=reason, message=message[:512], way_out=way_out)
