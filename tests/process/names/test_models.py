"""What a folder may hold that is to find names: whatever would run code, or is no pipeline, is refused before anything of it is made."""

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from finetune_trainer.names import FOLDER, name_finder
from finetune_trainer.names.model import load_name_model
from finetune_trainer.pod.errors import ConfigurationError

Change = Callable[[Path], object]


def config(old: str, new: str) -> Change:
    def change(folder: Path) -> None:
        place = folder / "config.cfg"
        text = place.read_text()
        assert old in text
        place.write_text(text.replace(old, new))

    return change


def part(name: str, factory: str, *lines: str) -> Change:
    """One more component before the others."""

    def change(folder: Path) -> None:
        config('pipeline = ["ner"]', f'pipeline = ["{name}","ner"]')(folder)
        with (folder / "config.cfg").open("a") as file:
            file.write("\n".join(["", f"[components.{name}]", f"{factory}", *lines, ""]))

    return change


REFUSED: dict[str, tuple[Change, str]] = {
    "no pipeline": (lambda folder: (folder / "config.cfg").unlink(), "holds no config.cfg"),
    "not a config": (lambda folder: (folder / "config.cfg").write_text("]["), "is no pipeline of spaCy"),
    "a pickle": (lambda folder: (folder / "ner" / "model.pkl").write_bytes(b"\x80\x04."), "ner/model.pkl is no file"),
    "a program": (lambda folder: (folder / "__init__.py").write_text("raise SystemExit"), "__init__.py is no file"),
    "a link": (lambda folder: (folder / "ner" / "patterns").symlink_to("/etc/passwd"), "is a link"),
    "a hook": (config("after_creation = null", 'after_creation = {"@callbacks":"site.run.v1"}'), "nlp.after_creation would run code"),
    "a tokenizer of its own": (
        config('"spacy.Tokenizer.v1"', '"site.Tokenizer.v1"'),
        "nlp.tokenizer.@tokenizers calls 'site.Tokenizer.v1'",
    ),
    "layers of torch": (config('"spacy.HashEmbedCNN.v2"', '"spacy.TorchBiLSTMEncoder.v1"'), "calls 'spacy.TorchBiLSTMEncoder.v1'"),
    "a file that is read": (
        config("moves = null", 'moves = {"@readers":"srsly.read_json.v1"}'),
        "ner.moves.@readers calls 'srsly.read_json.v1'",
    ),
    "another pipeline": (part("tagger", 'source = "en_core_web_sm"'), "component 'tagger' is made by None"),
    "another pipeline beside a factory": (config('factory = "ner"', 'factory = "ner"\nsource = "os"'), "ner.source calls 'os'"),
    "a part of somebody's": (part("site", 'factory = "site_component"'), "made by 'site_component'"),
    "a transformer": (part("transformer", 'factory = "transformer"'), "made by 'transformer'"),
    "a part by a path": (config('pipeline = ["ner"]', 'pipeline = ["../ner"]'), "component '../ner'"),
    "nothing that finds names": (config('pipeline = ["ner"]', "pipeline = []"), "neither ner nor entity_ruler"),
    "a language by a path": (config('lang = "en"', 'lang = "..os"'), "nlp.lang is no language code"),
    "a model cut off": (lambda folder: (folder / "ner" / "model").write_bytes(b"\x81"), "can load"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_a_folder_with_it_is_refused_with_the_place(what: str, site_names: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(site_names, tmp_path / "model")
    change, reason = REFUSED[what]
    change(folder)
    with pytest.raises(ConfigurationError) as refused:
        name_finder(folder)
    assert refused.value.reason == "NameModelUnusable"
    assert reason in refused.value.message
    assert refused.value.hint


def test_what_names_do_not_need_is_left_out_and_said(site_names: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(site_names, tmp_path / "model")
    part("tagger", 'factory = "tagger"', 'model = {"@architectures":"site.Anything.v1"}')(folder)
    config('"tagger",', '"tagger","tok2vec",')(folder)
    with (folder / "config.cfg").open("a") as file:
        file.write('[components.tok2vec]\nfactory = "tok2vec"\n')
    model = load_name_model(folder)
    assert (model.left_out, model.pipeline.pipe_names) == (("tagger", "tok2vec"), ["ner"])


def test_of_a_pipeline_like_those_that_are_published_names_keep_what_they_listen_to(tmp_path: Path) -> None:
    import spacy
    from spacy.training import Example

    heard = {"@architectures": "spacy.Tok2VecListener.v1", "width": 96, "upstream": "tok2vec"}
    layers = {"@architectures": "spacy.TransitionBasedParser.v2", "state_type": "ner", "hidden_width": 16, "tok2vec": heard}
    nlp = spacy.blank("en")
    nlp.add_pipe("tok2vec")
    nlp.add_pipe("tagger", config={"model": {"@architectures": "spacy.Tagger.v2", "tok2vec": heard}})
    nlp.add_pipe("attribute_ruler")
    nlp.add_pipe("ner", config={"model": layers})
    text, told = "Please ask Daniel Osei", {"entities": [(11, 22, "PERSON")], "tags": ["V", "V", "N", "N"]}
    learned = [Example.from_dict(nlp.make_doc(text), told)]
    nlp.initialize(lambda: learned)
    for _ in range(20):
        nlp.update(learned)
    nlp.to_disk(tmp_path / "published")
    model = load_name_model(tmp_path / "published")
    assert (model.pipeline.pipe_names, model.left_out) == (["tok2vec", "ner"], ("tagger", "attribute_ruler"))
    assert [(found.text, found.label_) for found in model.pipeline(text).ents] == [("Daniel Osei", "PERSON")]


def test_the_place_that_the_pages_name_is_the_one_that_is_looked_at() -> None:
    for page in ("docs/governance/scanning.md", "trainer_image/Dockerfile"):
        assert FOLDER in (Path(__file__).parents[3] / page).read_text()


def test_a_ruler_alone_is_a_model_and_counts_as_what_it_finds(tmp_path: Path) -> None:
    import spacy

    nlp = spacy.blank("en")
    nlp.add_pipe("entity_ruler").add_patterns([{"label": "PERSON", "pattern": "Daniel Osei"}, {"label": "PRODUCT", "pattern": "router"}])
    nlp.to_disk(tmp_path / "ruler")
    finder = name_finder(tmp_path / "ruler")
    assert finder is not None
    assert {each.entity.value: each.found for each in finder.report.planted} == {"person": 5}
    assert finder.report.profile().value == "Identifiers"
    assert finder.find("the router of Daniel Osei")[0] == {"person"}


def test_an_image_without_a_model_looks_for_no_names_and_one_that_names_a_missing_one_says_so(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("FINETUNE_NAME_MODEL", raising=False)
    assert name_finder() is None
    monkeypatch.setenv("FINETUNE_NAME_MODEL", str(tmp_path / "none"))
    with pytest.raises(ConfigurationError, match="holds no config"):
        name_finder()


def test_a_model_in_an_image_without_the_libraries_says_what_to_build(site_names: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "finetune_trainer.names.finder", raising=False)
    monkeypatch.setitem(sys.modules, "presidio_analyzer", None)
    with pytest.raises(ConfigurationError) as refused:
        name_finder(site_names)
    assert (refused.value.reason, "presidio_analyzer" in refused.value.message) == ("NameModelUnusable", True)
    assert "docs/governance/scanning.md" in refused.value.hint


def test_what_pipelines_are_read_from_holds_no_pickle(site_names: Path) -> None:
    """Arrays of objects would be unpickled: neither msgpack nor numpy makes one of bytes."""
    import numpy as np
    import srsly

    encoded = srsly.msgpack_dumps({b"nd": True, b"type": "|O", b"kind": b"O", b"shape": (1,), b"data": b"\x80\x04N."})
    with pytest.raises(ValueError, match="OBJECT"):
        srsly.msgpack_loads(encoded)
    assert json.loads((site_names / "vocab" / "strings.json").read_text())
    assert np.load(site_names / "vocab" / "vectors", allow_pickle=False).dtype.kind == "f"
