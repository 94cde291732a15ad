"""Networks with their weights: load them, place them on devices, patch and call them."""
