"""Errors of the driver."""


class CUDADriverError(RuntimeError):
    def __init__(self, status: int, text: str = ""):
        self.status = status
        super().__init__(f"CUDA_ERROR {status}: {text}")
