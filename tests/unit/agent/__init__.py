"""What the agent decides, without processes."""
