"""Which held-out rows become evaluation items: the question as a server would get it, and the wanted answer.

Whatever would end the evaluation after hours of training is found here: a question that the chat template refuses, and one that leaves
the base model no room for an answer.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from finetune_trainer.contract import Metric, RunSpec
from finetune_trainer.data.base_model import BaseModel
from finetune_trainer.data.duplicates import without_overlap
from finetune_trainer.data.examples import Conversation, Document, Dropped, Example
from finetune_trainer.data.rendering import Prompt, Renderer
from finetune_trainer.data.split import sample
from finetune_trainer.pod.errors import ConfigurationError

_BATCH = 512


@dataclass(frozen=True)
class ChosenItems:
    """``items`` as ``{"row", "prompt", "reference"}``, and how many were taken out: asked in training too, or too long."""

    items: list[dict[str, object]]
    overlap: int
    too_long: int


@dataclass(frozen=True)
class ItemChooser:
    """Chooses the items of one run. Raw text has an empty prompt and at most ``length`` tokens of reference."""

    spec: RunSpec
    base: BaseModel
    renderer: Renderer
    length: int

    def choose(self, candidates: Sequence[Example], train: Iterable[Example], dropped: list[Dropped]) -> ChosenItems:
        """At most ``evaluation.maxItems`` items; rows in ``dropped`` are none, and what the template refuses is appended to it.

        Raises ``ModelError`` for conversations without a chat template, ``ConfigurationError`` when no question leaves room for an answer.
        """
        gone = {row.row for row in dropped}
        asked, prompts = self._asked([example for example in candidates if example.row not in gone], dropped)
        distinct, overlap = without_overlap(asked, train)
        fitting = self._fitting(distinct, prompts)
        too_long = len(distinct) - len(fitting)
        if too_long and not fitting and self._measured():
            message = (
                f"evaluation.maxNewTokens: not one of {too_long} evaluation items leaves room for an answer of "
                f"{self.spec.evaluation.max_new_tokens} tokens: the base model knows {self.base.positions}"
            )
            raise ConfigurationError("NoRoomForAnswers", message, "Lower evaluation.maxNewTokens, or evaluate on shorter questions.")
        chosen = sample(fitting, self.spec.evaluation.max_items)
        return ChosenItems([self._item(example) for example in chosen], overlap, too_long)

    def _asked(self, examples: Sequence[Example], dropped: list[Dropped]) -> tuple[list[Example], dict[int, str]]:
        """The examples that can be asked, and the prompts of the conversations among them by row."""
        conversations = [example for example in examples if isinstance(example, Conversation)]
        prompts: dict[int, str] = {}
        for start in range(0, len(conversations), _BATCH):
            for result in self.renderer.prompts(conversations[start : start + _BATCH]):
                if isinstance(result, Prompt):
                    prompts[result.row] = result.text
                else:
                    dropped.append(result)
        return [example for example in examples if isinstance(example, Document) or example.row in prompts], prompts

    def _fitting(self, examples: list[Example], prompts: dict[int, str]) -> list[Example]:
        """Those whose question and answer are no longer than the longest input that the base model knows."""
        if self.base.positions is None:
            return examples
        measured = self._measured()
        generated = self.spec.evaluation.max_new_tokens if measured - {Metric.PERPLEXITY} else 0
        fitting: list[Example] = []
        for start in range(0, len(examples), _BATCH):
            batch = examples[start : start + _BATCH]
            questions = self._lengths([prompts.get(example.row, "") for example in batch], special=not self.renderer.has_template)
            answers = [0] * len(batch)
            if Metric.PERPLEXITY in measured:
                answers = self._lengths([example.target if isinstance(example, Conversation) else "" for example in batch], special=False)
            for example, question, answer in zip(batch, questions, answers, strict=True):
                if question + max(generated, answer) <= self.base.positions:
                    fitting.append(example)
        return fitting

    def _measured(self) -> set[Metric]:
        improvement = self.spec.evaluation.improvement
        return {*self.spec.evaluation.metrics, *([improvement.metric] if improvement else [])}

    def _lengths(self, texts: list[str], *, special: bool) -> list[int]:
        return [len(ids) for ids in self.base.tokenizer(texts, add_special_tokens=special)["input_ids"]]

    def _item(self, example: Example) -> dict[str, object]:
        if isinstance(example, Document):
            return {"row": example.row, "prompt": "", "reference": self._first_tokens(example.text)}
        prompt = example.prompt if self.renderer.has_template else example.prompt[-1]["content"]
        return {"row": example.row, "prompt": prompt, "reference": example.target}

    def _first_tokens(self, text: str) -> str:
        offsets = self.base.tokenizer.backend_tokenizer.encode(text, add_special_tokens=False).offsets
        return text if len(offsets) <= self.length else text[: offsets[self.length - 1][1]]
