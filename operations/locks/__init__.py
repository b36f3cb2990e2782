"""``lockstream lock …``: adds, imports, moves and shows locks."""
