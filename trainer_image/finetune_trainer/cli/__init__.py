"""The trainer's sub-commands: one module each, imported only when asked for."""
