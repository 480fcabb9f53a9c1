"""Statements of the SQL core, one module a subject."""
