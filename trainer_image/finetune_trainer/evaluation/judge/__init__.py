"""A model as judge: which of two answers to the same request is better, asked in both orders and only after it was calibrated.

Judges prefer a position, and change their minds when asked again: a pair counts for one side only if both orders say so. Sources: L. Zheng
et al., arXiv 2306.05685 (position bias, and both orders against it) · arXiv 2606.19544 and 2606.13685 (how often verdicts flip).
"""

from finetune_trainer.evaluation.judge.judging import Judging

__all__ = ["Judging"]
