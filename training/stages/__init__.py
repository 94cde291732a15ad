"""The stages that make the networks, one after the other."""
