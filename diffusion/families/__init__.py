"""Model families: how each is recognized, built and called. Importing this room loads no torch."""
