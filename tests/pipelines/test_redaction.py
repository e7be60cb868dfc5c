import pytest

from pipelines.redaction import mask_secrets, mask_value


@pytest.mark.parametrize(
    "text",
    [
        "http://user:CANARY@host:5000/x",
        "postgresql://CANARY@host/db",
        "failed: https://a:CANARY@h/x?y=1 and https://b:CANARY@h",
        "GET /o?X-Amz-Signature=CANARY&x=1",
        "AWS_SECRET_ACCESS_KEY=CANARY",
        'aws_session_token: "CANARY"',
        '{"api_key": "CANARY"}',
        "Authorization: Bearer CANARYCANARY",
        "MLFLOW_TRACKING_PASSWORD='CANARY'",
    ],
)
def test_a_secret_is_masked_and_the_rest_stays(text):
    masked = mask_secrets(text)
    assert "CANARY" not in masked and "***" in masked


@pytest.mark.parametrize(
    "text",
    [
        "sqlite:////runs/mlflow.db",
        "num_tokens is 3",
        "stage 2: 1200/16000",
        "models:/tiny@champion",
        "https://host/path",
    ],
)
def test_plain_text_stays_as_it_is(text):
    assert mask_secrets(text) == text


def test_an_aws_key_id_is_masked():
    assert mask_secrets("id AKIA" + "A1B2C3D4E5F6G7H8") == "id ***"


def test_a_setting_is_masked_by_its_name_only_if_it_is_text():
    assert mask_value("s3.secret_key", "abc") == "***"
    assert mask_value("tracking.password", "abc") == "***"
    assert mask_value("model.num_tokens", 5) == "5"
    assert mask_value("model.name", "ctvis") == "ctvis"
