"""The ``AdapterDeployment``: a desired adapter behind a model name. A change of the adapter makes a rollout."""
