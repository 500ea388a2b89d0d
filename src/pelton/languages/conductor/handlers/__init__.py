"""Event handlers: compiled from their JSON to the kernel's conditions and to commands for the engine."""
