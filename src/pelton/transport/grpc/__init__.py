"""What every gRPC API shares. Called by languages; may import the runtime's public API and the errors."""
