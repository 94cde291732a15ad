"""Sample a latent: noise, sigmas, guidance and masks around one sampler call."""
