"""Identifiers of people, accounts and devices in texts: found by pattern, checked by their own arithmetic where they have one.

Standard library only and no I/O, so that the steps that read data and those that read answers can use it alike. What it finds is counted;
what it read is never told.
"""

from finetune_trainer.identifiers.names import NameFinder
from finetune_trainer.identifiers.report import ScanReport
from finetune_trainer.identifiers.scanner import Scanner

__all__ = ["NameFinder", "ScanReport", "Scanner"]
