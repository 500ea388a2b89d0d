"""Schedules: workflows that start at times of a cron expression. The routes call it; it runs as processes of the engine."""
