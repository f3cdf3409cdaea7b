"""What every step needs because it runs in a pod: errors with exit codes, the work folder, sealed files, signals, events, progress."""
