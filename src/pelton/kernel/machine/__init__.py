"""The state machine of a run. Start reading at `advance`. Called by the runtime's unit of work; imports model and expressions."""
