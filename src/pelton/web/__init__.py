"""What every HTTP face shares."""
