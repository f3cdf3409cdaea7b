"""Governance as a decision: facts and policies in, findings out; no I/O, so that whoever asks gets the same answer.

It lies in the contract because operator, trainer and inference service may all import that, and nothing else of each other
(docs/adr/0013-governance-is-decided-in-the-contract.md).
"""

from finetune_trainer.contract.governance.classification import Classification, strictest
from finetune_trainer.contract.governance.decide import decide
from finetune_trainer.contract.governance.facts import Facts
from finetune_trainer.contract.governance.findings import Decision, Finding, Outcome
from finetune_trainer.contract.governance.policy import Policy
from finetune_trainer.contract.governance.rules import RULES, Rule, RuleId, Severity

__all__ = [
    "RULES",
    "Classification",
    "Decision",
    "Facts",
    "Finding",
    "Outcome",
    "Policy",
    "Rule",
    "RuleId",
    "Severity",
    "decide",
    "strictest",
]
