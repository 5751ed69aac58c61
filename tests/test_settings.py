"""Settings hold secrets, and never show them."""

import pytest

from shared.errors import PermanentError
from shared.settings import Secrets, Settings

UNRESOLVED = "@Microsoft.KeyVault(SecretUri=https://v.vault.azure.net/secrets/marker)"


def test_settings_that_are_printed_show_no_secret():
    secrets = {"SMTP_URL": "smtp://u:marker@h", "SWITCHYARD_SIGNING_KEY": "marker", "AzureWebJobsStorage": "k=marker"}
    settings = Settings.of(secrets)
    assert settings.storage == "k=marker"
    assert "marker" not in repr(settings)


def test_a_key_vault_reference_that_azure_could_not_follow_is_no_value():
    """Azure leaves its text in the environment: links would be signed by what anybody can guess."""
    assert Settings.of({"SWITCHYARD_SIGNING_KEY": UNRESOLVED, "SMTP_URL": UNRESOLVED}) == Settings()
    with pytest.raises(
        PermanentError, match=r"reference of the setting TEAMS_FRAUD_URL is not resolved: put the secret"
    ) as said:
        Secrets({"TEAMS_FRAUD_URL": UNRESOLVED})("TEAMS_FRAUD_URL")
    assert "marker" not in str(said.value)
