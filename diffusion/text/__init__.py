"""Prompts before a text encoder: syntax, weights and tokens."""
