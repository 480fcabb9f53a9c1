"""The SQL core: its schema, its functions, and the statements that call them."""
