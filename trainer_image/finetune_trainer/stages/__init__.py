"""The training stages and what they share: model, rows, checkpoints and the loop around the library's trainer.

Modules without torch (``defaults``, ``extra_arguments``, ``library_source``, ``schedule``, ``divergence``, ``totals``, ``checkpoints``)
hold the decisions and may be imported by commands that answer in under a second.
"""
