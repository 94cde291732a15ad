"""Conditioning: encode prompts, and combine what guides a network."""
