"""The server of ours: one base model and its adapters behind the OpenAI API, for CPUs, small models and tests."""
