"""The process edge: settings, health, metrics, logs, and the order in which everything starts and stops."""
