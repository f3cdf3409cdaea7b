"""A spaCy pipeline from a folder, loaded so that it can compute and do nothing else.

spaCy calls what a pipeline's config names: any function that an installed package registers, other pipelines, packages by their name. So
the config is read first, and only the parts and functions listed here may occur in it. What names do not need (tagger, parser, lemmatizer)
is left out and never made. The files themselves are JSON, msgpack and arrays without objects: no pickle is among them, and a file of
another name refuses the folder, as a link does.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import spacy
from spacy.util import get_lang_class, get_model_meta, load_config

from finetune_trainer.pod.basefiles import file_set_digest
from finetune_trainer.pod.errors import ConfigurationError

USED: Final = frozenset({"tok2vec", "ner", "entity_ruler"})
LEFT_OUT: Final = frozenset(
    {"tagger", "morphologizer", "parser", "senter", "sentencizer", "attribute_ruler", "lemmatizer", "trainable_lemmatizer"}
)
"""Parts that say nothing about names and change no entity."""
FUNCTIONS: Final = frozenset(
    {
        "spacy.Tokenizer.v1",
        "spacy.Vectors.v1",
        "spacy.TransitionBasedParser.v1",
        "spacy.TransitionBasedParser.v2",
        "spacy.HashEmbedCNN.v1",
        "spacy.HashEmbedCNN.v2",
        "spacy.Tok2Vec.v1",
        "spacy.Tok2Vec.v2",
        "spacy.MultiHashEmbed.v1",
        "spacy.MultiHashEmbed.v2",
        "spacy.CharacterEmbed.v1",
        "spacy.CharacterEmbed.v2",
        "spacy.MaxoutWindowEncoder.v1",
        "spacy.MaxoutWindowEncoder.v2",
        "spacy.MishWindowEncoder.v1",
        "spacy.MishWindowEncoder.v2",
        "spacy.Tok2VecListener.v1",
        "spacy.ner_scorer.v1",
        "spacy.entity_ruler_scorer.v1",
        "spacy.levenshtein_compare.v1",
    }
)
"""Registered functions of spaCy that make tokenizers, tables and layers. Those that read files, load pipelines or wrap torch are absent."""
FILES: Final = frozenset(
    {
        "config.cfg",
        "meta.json",
        "tokenizer",
        "cfg",
        "model",
        "moves",
        "trees",
        "patterns",
        "patterns.jsonl",
        "key2row",
        "lookups.bin",
        "strings.json",
        "vectors",
        "vectors.cfg",
        "LICENSE",
        "LICENSES_SOURCES",
        "README.md",
        "accuracy.json",
    }
)
"""What ``nlp.to_disk`` writes for the parts above, and what lies beside it in published pipelines."""
_HOOKS: Final = ("before_creation", "after_creation", "after_pipeline_creation")
_LISTENER: Final = "spacy.Tok2VecListener.v1"
_WORD: Final = re.compile(r"[A-Za-z0-9_]{1,64}")
_LANGUAGE: Final = re.compile(r"[a-z]{2,3}")
_HINT: Final = "Put another pipeline of spaCy into the trainer image; docs/governance/scanning.md says what it may be made of."


@dataclass(frozen=True)
class NameModel:
    """``pipeline`` is a ``spacy.Language`` with its used parts only; ``labels`` is what it can call an entity."""

    name: str
    version: str
    language: str
    digest: str
    pipeline: Any
    labels: frozenset[str]
    left_out: tuple[str, ...]


def load_name_model(folder: Path) -> NameModel:
    """The pipeline of a folder as ``nlp.to_disk`` writes it.

    Raises:
        ConfigurationError: the folder holds something else, or more than a pipeline for names may be made of; nothing of it was made then.
    """
    _check_files(folder)
    digest = file_set_digest(folder)
    try:
        config = load_config(folder / "config.cfg", interpolate=True)
        meta = get_model_meta(folder)
    except (ValueError, OSError) as error:  # what they say may quote the file
        raise _unusable(f"{folder} is no pipeline of spaCy: {type(error).__name__}") from error
    used, left_out = _parts(config)
    stripped = {"nlp": {**config["nlp"], "pipeline": list(used), "disabled": []}, "components": used}
    _check(stripped)
    try:
        pipeline = get_lang_class(stripped["nlp"]["lang"]).from_config(stripped, meta=meta, auto_fill=True)
        pipeline.from_disk(folder, exclude=list(left_out))
    except (ValueError, TypeError, KeyError, AttributeError, ImportError, OSError) as error:
        raise _unusable(f"{folder} is no pipeline that spaCy {spacy.__version__} can load: {type(error).__name__}") from error
    labels = frozenset(label for name in pipeline.pipe_names for label in pipeline.pipe_labels.get(name, ()))
    name, version = str(meta.get("name", "")), str(meta.get("version", ""))
    return NameModel(f"{meta.get('lang', '')}_{name}"[:64], version[:32], stripped["nlp"]["lang"], digest, pipeline, labels, left_out)


def _check_files(folder: Path) -> None:
    if not (folder / "config.cfg").is_file():
        raise _unusable(f"{folder} holds no config.cfg: the folder that nlp.to_disk has written is meant, not one around it")
    for path in sorted(folder.rglob("*")):
        place = path.relative_to(folder)
        if path.is_symlink() or not (path.is_dir() or path.is_file()):
            raise _unusable(f"{place} is a link or no file")
        if path.is_file() and path.name not in FILES:
            raise _unusable(f"{place} is no file that a pipeline for names is read from")


def _parts(config: Mapping[str, Any]) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Components that are used, by name, and the names of those that are left out: vectors of words too, if no used one listens to them."""
    components, used, left_out = config.get("components", {}), {}, []
    for name in config.get("nlp", {}).get("pipeline", []):
        component = components.get(name, {})
        factory = component.get("factory")
        if not _WORD.fullmatch(name) or (factory not in USED and factory not in LEFT_OUT):
            raise _unusable(f"config.cfg: component {name!r:.70} is made by {factory!r:.70}, which is none of {', '.join(sorted(USED))}")
        if factory in USED:
            used[name] = component
        else:
            left_out.append(name)
    if all(function != _LISTENER for _, function in _functions(used, "")):
        unheard = [name for name, component in used.items() if component["factory"] == "tok2vec"]
        left_out += unheard
        used = {name: component for name, component in used.items() if name not in unheard}
    if all(component["factory"] == "tok2vec" for component in used.values()):
        raise _unusable("config.cfg: the pipeline has neither ner nor entity_ruler")
    return used, tuple(left_out)


def _check(config: Mapping[str, Any]) -> None:
    nlp = config["nlp"]
    if not _LANGUAGE.fullmatch(str(nlp.get("lang"))):
        raise _unusable("config.cfg: nlp.lang is no language code")
    for hook in _HOOKS:
        if nlp.get(hook) is not None:
            raise _unusable(f"config.cfg: nlp.{hook} would run code")
    for place, function in _functions(config, ""):
        if function not in FUNCTIONS:
            raise _unusable(f"config.cfg: {place} calls {function!r:.70}, which is not known to compute only")


def _functions(value: Any, place: str) -> Iterator[tuple[str, Any]]:
    """Every registered function that is called, with the place in the config."""
    if isinstance(value, Mapping):
        for key, inner in value.items():
            if key.startswith("@") or key == "source":
                yield f"{place}.{key}".lstrip("."), inner
            else:
                yield from _functions(inner, f"{place}.{key}")
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from _functions(inner, place)


def _unusable(message: str) -> ConfigurationError:
    return ConfigurationError("NameModelUnusable", f"trainer image: the model that finds names: {message}", _HINT)
