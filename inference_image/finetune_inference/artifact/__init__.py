"""From a published artifact to files an engine may read: fetched, hashed, checked for compatibility. No torch, no network, no pickle."""
