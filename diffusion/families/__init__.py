"""Model families and the numbers that define them."""
