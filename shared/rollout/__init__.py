"""One promotion of one model to one endpoint: the policy, the script that asks for one thing at a time, and the judge.

Pure: no clock, network, file, environment or log. What the script asks for is done by shared/conduct.py; the drivers
(local/rollouts.py, functions/rollouts.py) only know how to wait.
"""
