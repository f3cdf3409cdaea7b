"""The process edge: settings, kopf, health, metrics, logs, and the order in which everything starts and stops."""
