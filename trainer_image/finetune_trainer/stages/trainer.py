"""The library's supervised trainer, reduced to its loop: our loss path, our checkpoints, our log.

The library computes the loss through a fused head with entropy and accuracy per token, 13 to 40 % of a step on small models, and
writes checkpoints in place with a pickle of its arguments and a generated card. Everything that differs from it is here.
"""

import functools
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from peft import PeftModel
from torch import distributed
from transformers import PreTrainedModel, PreTrainedTokenizerBase, PrinterCallback, Trainer, TrainerControl
from trl import SFTConfig, SFTTrainer

from finetune_trainer.stages.checkpoints import Checkpoint, CheckpointFolder
from finetune_trainer.stages.rows import Batch, Row, fed_tokens
from finetune_trainer.stages.watch import Watch

STATE = "trainer_state.json"


class SealingTrainer(SFTTrainer):  # type: ignore[misc]  # the library is untyped
    """One training loop over sealed rows. ``fed`` counts the tokens this process fed since the last ``take_fed``."""

    def __init__(
        self,
        *,
        model: PreTrainedModel | PeftModel,
        arguments: SFTConfig,
        rows: Dataset,
        collate: Callable[[list[Row]], Batch],
        tokenizer: PreTrainedTokenizerBase,
        watch: Watch,
        checkpoints: CheckpointFolder,
        on_sealed: Callable[[Checkpoint], None],
    ) -> None:
        super().__init__(
            model=model, args=arguments, train_dataset=rows, data_collator=collate, processing_class=tokenizer, callbacks=[watch]
        )
        self.remove_callback(PrinterCallback)
        self._watch = watch
        self._checkpoints = checkpoints
        self._on_sealed = on_sealed
        self._fed: torch.Tensor | int = 0
        _train_adapter_in_full_precision(self.model)

    def compute_loss(
        self,
        model: torch.nn.Module,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: torch.Tensor | int | None = None,
    ) -> Any:
        """The model's own cross entropy over the tokens of the whole effective batch."""
        self._fed = self._fed + fed_tokens(inputs)
        inputs["use_cache"] = False
        plain = functools.partial(Trainer.compute_loss, self)
        return plain(model, inputs, return_outputs=return_outputs, num_items_in_batch=num_items_in_batch)

    def take_fed(self) -> int:
        """Tokens fed by this process since the last call."""
        fed, self._fed = int(self._fed), 0
        return fed

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:  # noqa: ARG002 - the library's signature
        """Hand the numbers to the callback; a history of every step would grow with the run and be written at every save."""
        self.control: TrainerControl = self.callback_handler.on_log(self.args, self.state, self.control, logs)

    def floating_point_ops(self, inputs: Mapping[str, Any]) -> int:  # noqa: ARG002 - the library's signature
        """Not counted: the estimate would walk over all parameters at every step."""
        return 0

    def _save_checkpoint(self, model: torch.nn.Module, trial: object) -> None:  # noqa: ARG002 - the library's signature
        """Write and seal the checkpoint of the current step; every process leaves its random numbers' state."""
        name = f"checkpoint-{self.state.global_step}"
        draft = self._checkpoints.draft(name)
        if self.is_world_process_zero():
            self._checkpoints.begin(name)
        self._meet()
        self._save_rng_state(str(draft))
        self._meet()
        if self.is_world_process_zero():
            self.write_weights(draft)
            self._save_optimizer_and_scheduler(str(draft))
            self._save_scaler(str(draft))
            self.state.save_to_json(str(draft / STATE))
            self._watch.totals.write(draft)
            self._on_sealed(self._checkpoints.seal(draft, name, self.state.global_step))
        self._meet()

    def seal_best(self, step: int) -> None:
        """Keep the weights of the best look at the held-out rows so far."""
        if self.is_world_process_zero():
            name = f"best-{step}"
            draft = self._checkpoints.begin(name)
            self.write_weights(draft)
            self._checkpoints.seal(draft, name, step)
        self._meet()

    def write_weights(self, folder: Path) -> None:
        """Adapter or whole model as safetensors."""
        self.model.save_pretrained(folder)

    def load_weights(self, folder: Path) -> None:
        """Put the weights of a verified checkpoint into the model."""
        self._load_from_checkpoint(str(folder))

    def learned_finite_weights(self) -> bool:
        """Whether every weight that is trained is a number."""
        return all(bool(torch.isfinite(weight).all()) for weight in self.model.parameters() if weight.requires_grad)

    def bare_model(self) -> PreTrainedModel | PeftModel:
        """The trained model as a reload computes it: without the mixed precision that the library wraps around it while it trains."""
        return self.accelerator.unwrap_model(self.model, keep_fp32_wrapper=False)

    def _meet(self) -> None:
        if self.args.world_size > 1:
            distributed.barrier()


def _train_adapter_in_full_precision(model: torch.nn.Module) -> None:
    """Undo the library's rounding of adapters on a four-bit base: updates smaller than a bf16 step would be lost."""
    for parameter in model.parameters():
        if parameter.requires_grad and parameter.dtype is torch.bfloat16:
            parameter.data = parameter.data.float()
