"""Decisions about an ``AdapterDeployment``: which version answers whom, and when that changes. Pure values, no I/O."""
