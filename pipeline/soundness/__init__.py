"""What makes a schedule sound, and a plan safe to run."""
