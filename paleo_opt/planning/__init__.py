"""Capacity planning: which job runs when, on what, and what to rent or buy for it.

`load` reads a file of jobs, `setup` turns each run into the ways it can be trained (from one sweep per network),
`scheduling` finds the best schedule and verifies it, `relaxations` and `growth` say what would change it, and `plan`
puts the answer together.
"""
