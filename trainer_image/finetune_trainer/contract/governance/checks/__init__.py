"""The rules, each as a small function from a case (and a policy, where it is that policy's demand) to findings."""
