"""What is kept beside workflows and tasks: schedules, schemas, tags."""
