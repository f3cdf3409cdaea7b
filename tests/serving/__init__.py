"""Router, server, intake and canary statistics inside one process: no cluster, but longer than unit tests may take."""
