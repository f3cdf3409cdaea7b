"""Decisions as values: what should be done about a FineTuneJob, given everything that is known about it and the time."""
