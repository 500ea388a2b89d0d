"""Event handlers: compiled from their JSON to what the kernel matches and to commands for the engine."""
