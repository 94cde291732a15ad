"""Tensors and weights: what a diffusion model is made of and how it is sampled. Knows no graphs."""
