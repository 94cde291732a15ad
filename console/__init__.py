"""The command line's output: progress, tables, JSON. It uses the engine, not the nodes."""
