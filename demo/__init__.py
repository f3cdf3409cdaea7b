"""The first thing a newcomer runs: from nothing to a governed, evaluated adapter on a real Kubernetes, watched in the terminal."""
