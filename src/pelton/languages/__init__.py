"""One folder for each workflow language that Pelton supports."""
