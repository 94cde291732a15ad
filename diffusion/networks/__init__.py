"""Networks with their weights: load them, move them between devices, patch and call them."""
