"""The columns of a transaction: the one place that names them."""

KEY = "transaction_id"
"""By which a prediction finds its truth, weeks later: scoring hands it through."""
TIME = "made_at"
LABEL = "is_fraud"
COHORT = "segment"
"""The scorecard has a row for each of its values."""
FEATURES = ["amount", "hour", "merchant_age_days", "foreign_share"]
COLUMNS = [KEY, TIME, *FEATURES, COHORT, LABEL]
