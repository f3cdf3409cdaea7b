"""glibc keeps freed blocks for reuse; activations of changing sizes then leave holes, and a training takes up to twice what it needs.

From 128 KiB on, blocks are handed back to the kernel at once (mallopt(3)). That costs page faults, which show in small models and not
in large ones, and only large ones have a memory problem: so it is done for those alone, and only where the CPU computes.
"""

import ctypes
import platform

LARGE_MODEL_BYTES = 64 << 20
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_MMAP_MAX = -1, -3, -4
_BLOCK = 1 << 17
_TRIM = 64 << 20
_MAPPINGS = 1 << 16


def return_freed_blocks(model_bytes: int) -> bool:
    """Switch the allocator over for a model of ``model_bytes``; False where nothing was changed."""
    if model_bytes < LARGE_MODEL_BYTES or platform.libc_ver()[0] != "glibc":
        return False
    libc = ctypes.CDLL(None)
    settings = ((_M_MMAP_THRESHOLD, _BLOCK), (_M_TRIM_THRESHOLD, _TRIM), (_M_MMAP_MAX, _MAPPINGS))
    return all(libc.mallopt(name, value) for name, value in settings)
