"""Cancelled, slow and many calls at once: what they leave behind is counted."""
