"""The CUDA backend: the plan, the parameters and the optimizer's state live on the device, which runs kernels of ours."""
