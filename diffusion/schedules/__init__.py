"""Noise schedules: sigmas, timesteps, and what a network's output means at each of them."""
