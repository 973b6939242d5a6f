"""Submissions to the VOC evaluation server."""
