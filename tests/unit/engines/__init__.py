"""The fake engine keeps its promises, so that tests may rely on it."""
