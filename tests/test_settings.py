"""Settings hold secrets, and never show them."""

from shared.settings import Settings


def test_settings_that_are_printed_show_no_secret():
    secrets = {"SMTP_URL": "smtp://u:marker@h", "SWITCHYARD_SIGNING_KEY": "marker", "AzureWebJobsStorage": "k=marker"}
    settings = Settings.of(secrets)
    assert settings.storage == "k=marker"
    assert "marker" not in repr(settings)
