"""Data written in the forms of others, and what a form cannot say."""
