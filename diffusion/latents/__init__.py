"""Latents: create, combine, resize, batch, save and load them."""
