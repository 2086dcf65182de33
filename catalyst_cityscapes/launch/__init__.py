"""Starting runs as processes of their own, and ending them."""
