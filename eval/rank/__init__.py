"""Ranking: generators compared in pairs by a judge, by metrics, by people's votes, and how far these agree."""
