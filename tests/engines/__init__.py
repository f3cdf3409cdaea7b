"""Engines that are not there: processes that answer as a real one does, with every habit that has cost somebody an outage."""
