"""Graphs as immutable data: build, edit, validate and lint them. Nothing here runs a node."""
