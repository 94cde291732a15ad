"""The picture book: what its scenes hold, how they are drawn, and how they are said."""
