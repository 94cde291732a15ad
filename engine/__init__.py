"""The graph engine: types, registry, validation, plan, executor, caches, formats. No torch."""
