"""Finding runs: pages of long lists, and how long they are. The store's reads call it, and it imports their connection."""
