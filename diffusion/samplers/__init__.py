"""Samplers: short functions over `denoise(x, sigma)`, each with its paper."""
