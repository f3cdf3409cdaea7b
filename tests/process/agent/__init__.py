"""The agent as a process beside an engine that is one too."""
