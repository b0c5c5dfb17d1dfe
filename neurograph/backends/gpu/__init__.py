"""The CUDA backend: plan, parameters and optimizer state live on the device, which runs kernels of our own."""
