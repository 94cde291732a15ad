"""Run a graph: plan it, call its nodes in order, report what happens, and record why nodes ran."""
