"""Networks on NVIDIA GPUs: fused kernels in NHWC, and calls captured as CUDA graphs."""
