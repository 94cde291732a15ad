"""Node types: declarations of inputs and outputs, extensions of packs, and the registry of both."""
