"""What tests of Pelton, and of programs built on it, stand on: stores that misbehave on purpose."""
