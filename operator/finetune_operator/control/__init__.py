"""Drives the cluster towards what the pure core decides: queue, workers, leader, events."""
