"""What stands around the decisions about an ``AdapterDeployment``: what is known, what is asked of pods, and what is written."""
