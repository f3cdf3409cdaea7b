"""A real Kubernetes on one Linux host, in tiers, for the demo, the tests and users without a cluster."""
