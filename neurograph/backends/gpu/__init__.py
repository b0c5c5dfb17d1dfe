"""The CUDA backend: the plan, the parameters and the optimizer's state live on the device, which runs kernels of ours.

Its functions are in `backend`. Nothing is imported here, for `device` is asked where there is no CuPy.
"""
