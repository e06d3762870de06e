"""The answer as a folder of files: the page, the tables, the question, and what launches the chosen strategy."""
