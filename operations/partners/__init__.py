"""``lockstream partner …``: says who gets events, and how far each partner has come."""
