"""The one guarded way out by HTTP: who may be called is decided here. Called by connectors and languages."""
