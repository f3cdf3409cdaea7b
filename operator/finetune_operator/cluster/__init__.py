"""Everything that talks to the cluster: requests, watches, caches. I/O only; no decision is made here."""
