"""What a partner with a user of its own tries and must not be able to do, with foreign clients."""
