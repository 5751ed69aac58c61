"""The tests; a module that runs the contract of the store shows what differed."""

import pytest

pytest.register_assert_rewrite("tests.store_contract")
