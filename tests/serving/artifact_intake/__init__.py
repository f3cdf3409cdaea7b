"""What an artifact is refused for, and how it is taken."""
