"""Search: which strategy is best within the budgets, and the proof."""
