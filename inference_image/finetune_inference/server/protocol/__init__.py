"""What clients send and get: the OpenAI API as vLLM speaks it. No torch here."""
