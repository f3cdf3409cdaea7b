"""What an evaluation leaves beside the artifact: outcomes per item, statistics with their methods, and five answers to look at.

``examples.json`` holds texts (prompt, reference, both answers). It exists on the artifact's volume only, which belongs to whoever owns the
data; nothing of it is ever logged, reported or sent. A governed run leaves none.
"""

import json
from pathlib import Path

from finetune_trainer.contract import EvaluationSummary, RunSpec
from finetune_trainer.evaluation.comparison import Comparison
from finetune_trainer.evaluation.items import EvaluationItem
from finetune_trainer.pod.sealing import file_digest, write_sealed

ITEMS_FILE = "evaluation-items.jsonl"
REPORT_FILE = "evaluation.json"
EXAMPLES_FILE = "examples.json"
EXAMPLES = 5


def write_report(folder: Path, summary: EvaluationSummary, comparisons: list[Comparison], spec: RunSpec, items_path: Path) -> None:
    """Write ``evaluation.json``: the summary, and per metric the method and everything it was computed from."""
    document = {
        "summary": json.loads(summary.to_json()),
        "itemsDigest": file_digest(items_path) if items_path.exists() else None,
        "decoding": {"strategy": "greedy", "maxNewTokens": spec.evaluation.max_new_tokens},
        "confidence": {"intervals": "two-sided 95 %", "gate": "one-sided 95 %"},
        "metrics": [
            {
                "name": comparison.metric.value,
                "method": comparison.method,
                "gain": comparison.gain.value,
                "gainBounds": [comparison.gain.bounds.low, comparison.gain.bounds.high],
                **comparison.details,
            }
            for comparison in comparisons
        ],
    }
    write_sealed(folder / REPORT_FILE, json.dumps(document, indent=2, sort_keys=True) + "\n")


def write_examples(folder: Path, items: list[EvaluationItem], base: list[str], tuned: list[str]) -> None:
    """Write ``examples.json``: the first items, not chosen ones."""
    rows = [
        {"row": item.row, "prompt": item.prompt, "reference": item.reference, "base": before, "tuned": after}
        for item, before, after in list(zip(items, base, tuned, strict=True))[:EXAMPLES]
    ]
    write_sealed(folder / EXAMPLES_FILE, json.dumps(rows, indent=2, ensure_ascii=False) + "\n")
