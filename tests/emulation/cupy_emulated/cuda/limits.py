"""What a block and a grid may be, of the device that is emulated."""

THREADS = 1024
BLOCK = (1024, 1024, 64)
GRID = (2**31 - 1, 65535, 65535)
STATIC_SHARED = 48 << 10
DYNAMIC_SHARED = 227 << 10
MULTIPROCESSORS = 132
COMPUTE_CAPABILITY = "90"
