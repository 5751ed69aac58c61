"""Model quality: predictions held against the truth that comes later. What may be asked, windows, joining, metrics, verdicts.

All of it is pure. Numbers are worked out in `metrics`, which alone imports numpy and scikit-learn.
"""
