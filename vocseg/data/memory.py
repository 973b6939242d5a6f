"""How the process keeps memory that is freed and soon wanted again."""

import ctypes
import sys

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # of glibc's malloc.h
_GIB = 1 << 30


def keep_freed_memory() -> None:
    """Let glibc keep freed blocks up to 1 GiB instead of handing them back to the kernel.

    Every batch, and every activation on a CPU, is a large block that is freed and asked for again at once;
    getting it back from the kernel page by page costs as much as filling it. Elsewhere than on glibc nothing
    happens.
    """
    if not sys.platform.startswith("linux"):
        return
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):  # musl has none
        return
    mallopt(_M_MMAP_THRESHOLD, _GIB)
    mallopt(_M_TRIM_THRESHOLD, 2 * _GIB - 1)
