"""The layout of a run's work folder, in one place, so that every step finds what the one before it left.

``<work>/base`` (only for fetched base models) · ``data`` (the sealed dataset) · ``checkpoints`` · ``out`` (the adapter, before it is
published) · ``results/<step>.json`` (sealed results).
"""

from dataclasses import dataclass
from pathlib import Path

from finetune_trainer.contract import RESULTS_FOLDER, RunSpec, Step


@dataclass(frozen=True)
class Workspace:
    """Paths below a run's work folder; nothing here touches the disk."""

    root: Path
    private_data: Path | None = None
    """Where the sealed dataset is read from, if not from the work folder itself."""

    @property
    def base(self) -> Path:
        return self.root / "base"

    @property
    def data(self) -> Path:
        return self.private_data or self.root / "data"

    @property
    def train_rows(self) -> Path:
        """Parquet: ``input_ids: list<int32>``, ``loss_mask: list<int8>`` (1 where a token is learned), ``row: int64``."""
        return self.data / "train.parquet"

    @property
    def validation_rows(self) -> Path:
        """Same columns as the train rows; absent where nothing is held out."""
        return self.data / "validation.parquet"

    @property
    def evaluation_items(self) -> Path:
        """JSON lines: ``{"row": n, "prompt": [messages] | text, "reference": text}``, held out and not overlapping the train rows."""
        return self.data / "evaluation.jsonl"

    @property
    def data_manifest(self) -> Path:
        """JSON: file name → SHA-256 and size, settings that shaped the rows, and the dataset digest over all of it."""
        return self.data / "manifest.json"

    @property
    def data_report(self) -> Path:
        """JSON: the whole data report, of which the summary is a part."""
        return self.data / "report.json"

    @property
    def data_review(self) -> Path:
        """JSON: numbers and hashes of rows that were drawn for people to look at."""
        return self.data / "review.json"

    @property
    def data_scan(self) -> Path:
        """JSON: what the scan for identifiers has counted, and what it cannot see."""
        return self.data / "scan.json"

    @property
    def checkpoints(self) -> Path:
        return self.root / "checkpoints"

    @property
    def out(self) -> Path:
        """The artifact as it will be published: weights, configs, tokenizer, template; nothing with a time in it."""
        return self.root / "out"

    @property
    def out_meta(self) -> Path:
        """Card, report and evaluation items' outcomes, published beside the artifact as ``<digest>.meta``."""
        return self.root / "out.meta"

    def result(self, step: Step) -> Path:
        return self.root / RESULTS_FOLDER / f"{step.value}.json"

    def base_model(self, spec: RunSpec) -> Path:
        """Folder of the base model: the mounted claim, or what the prepare step fetched."""
        return Path(spec.base_model.path) if spec.base_model.path else self.base
