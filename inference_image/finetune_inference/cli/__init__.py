"""The image's command line."""
