"""What the decisions about a canary do in thousands of simulated rollouts."""
