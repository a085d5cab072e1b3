"""Tests of clips in pytest: what a clip must show, asked of the same metrics and judge as everywhere."""
