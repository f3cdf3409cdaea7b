"""Where a pod answers."""


def url_of(address: str, port: int, path: str = "") -> str:
    """Of an IPv4 or IPv6 address; ``path`` begins with a slash."""
    host = f"[{address}]" if ":" in address else address
    return f"http://{host}:{port}{path}"
