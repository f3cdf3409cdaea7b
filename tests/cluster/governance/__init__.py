"""Governance with a real operator on a real API server."""
