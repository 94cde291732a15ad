"""What is asked of the finished model, and how its pictures are judged."""
