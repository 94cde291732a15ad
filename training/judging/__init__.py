"""What is asked of the finished model, and how its images are judged."""
