"""The systems that events come from and go to, one file a system."""
