"""What every API over gRPC shares. Called by languages; imports the runtime's face and the errors."""
