"""The inference service: the server of ours, the agent beside an engine, and the router in front of them."""
