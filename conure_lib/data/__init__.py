"""Task streams: what they are, how they are made of tables, and where each dataset comes from."""
