"""A generator learns from its judge: rounds of draw, judge, learn, and measures that are not in the reward."""
