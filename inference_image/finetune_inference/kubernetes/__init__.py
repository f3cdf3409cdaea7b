"""The little of the Kubernetes API that the agent and the router need: list and watch, and nothing that writes."""
