"""From strategies to what they cost."""
