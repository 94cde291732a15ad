"""Prompts up to the text encoder: syntax, weights and tokens."""
