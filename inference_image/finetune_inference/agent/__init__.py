"""Beside every engine: keeps it holding exactly the adapter versions that are wanted, whoever restarts and whatever is away."""
