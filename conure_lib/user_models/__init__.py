"""From one's own tables to a user model, and out of it."""
