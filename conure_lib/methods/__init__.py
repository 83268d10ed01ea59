"""The compared methods and the actions that they are made of."""
