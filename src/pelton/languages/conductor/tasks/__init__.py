"""Task types, beside the basic ones in `definitions.compile_tasks`: how each becomes a node, and what is checked of it."""
