"""The networks, their owner maps, and their files."""
