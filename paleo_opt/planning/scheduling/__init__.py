"""Scheduling alone: runs, ways to run them, pools of nodes, and the best schedule. It knows no network and no cluster.

`solve` is the way in; `check` verifies what it returns.
"""
