"""Node types: what a function declares about its inputs and outputs, and what it may ask for."""
