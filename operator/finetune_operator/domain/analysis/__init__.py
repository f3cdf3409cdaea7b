"""Statistics and verdicts of a canary: from what the routers have counted to roll back, promote, keep baking or not enough to tell."""
