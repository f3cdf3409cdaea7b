"""One module for each command of ``finetune``."""
