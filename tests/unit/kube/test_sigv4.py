"""Signatures against the worked examples of the Amazon S3 API Reference ("Examples: Signature Calculations")."""

from datetime import UTC, datetime

import pytest

from finetune_operator.cluster.sigv4 import Credentials, Request, signed_headers

EXAMPLE = Credentials("AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY")
MOMENT = datetime(2013, 5, 24, tzinfo=UTC)
HOST = "examplebucket.s3.amazonaws.com"


@pytest.mark.parametrize(
    ("request_", "signature"),
    [
        (
            Request("GET", HOST, "/test.txt", headers={"Range": "bytes=0-9"}),
            "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41",
        ),
        (
            Request(
                "PUT",
                HOST,
                "/test$file.text",
                headers={"Date": "Fri, 24 May 2013 00:00:00 GMT", "x-amz-storage-class": "REDUCED_REDUNDANCY"},
                body=b"Welcome to Amazon S3.",
            ),
            "98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd",
        ),
        (Request("GET", HOST, "/", {"lifecycle": ""}), "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543"),
        (
            Request("GET", HOST, "/", {"prefix": "J", "max-keys": "2"}),
            "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7",
        ),
    ],
    ids=["a header", "a quoted key and a body", "a query without a value", "a query out of order"],
)
def test_the_published_examples_come_out(request_: Request, signature: str) -> None:
    headers = signed_headers(request_, EXAMPLE, "us-east-1", MOMENT)
    assert headers["authorization"].endswith(f"Signature={signature}")
    assert headers["authorization"].startswith("AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request,")


def test_a_session_token_is_signed_and_nothing_secret_is_printed() -> None:
    temporary = Credentials("AKID", "the-secret", "the-token")
    headers = signed_headers(Request("GET", HOST, "/"), temporary, "us-east-1", MOMENT)
    assert headers["x-amz-security-token"] == "the-token"
    assert "x-amz-security-token" in headers["authorization"]
    assert "the-secret" not in str(headers) + repr(temporary)
    assert "the-token" not in repr(temporary)
