"""Google's own client against the pretend service: does it take what we say for Google, and does it find
what keyferry wrote? Reads settings from the environment, prints one JSON object, and fails loudly.

It speaks REST, in its own words; it signs in with Google's own library; every answer goes through its strict
reading of Google's types.
"""

import base64
import json
import os
import sys

import google_crc32c
from google.api_core import exceptions
from google.cloud import secretmanager_v1 as sm
from google.cloud.secretmanager_v1.services.secret_manager_service.transports import (
    SecretManagerServiceRestTransport,
)
from google.oauth2 import service_account

PARENT = f"projects/{os.environ['JUDGE_PROJECT']}"
STATE = sm.SecretVersion.State


def client():
    credentials = service_account.Credentials.from_service_account_info(
        json.loads(os.environ["JUDGE_CREDENTIALS"]),
        scopes=["https://www.googleapis.com/auth/cloud-platform"],
    )
    transport = SecretManagerServiceRestTransport(
        host=os.environ["JUDGE_HOST"],
        url_scheme="http",
        credentials=credentials,
        # A token from the token service, not a statement of its own as the token.
        always_use_jwt_access=False,
    )
    return sm.SecretManagerServiceClient(transport=transport)


def expect(status, call):
    try:
        call()
    except exceptions.GoogleAPICallError as error:
        assert error.response.json()["error"]["status"] == status, error
        return
    raise AssertionError(f"this had to be refused with {status}")


def add(google, name, data):
    payload = sm.SecretPayload(data=data, data_crc32c=google_crc32c.value(data))
    return google.add_secret_version(parent=name, payload=payload)


def behave(google):
    """The life of a secret, as the client expects it of Google."""
    automatic = sm.Secret(replication=sm.Replication(automatic=sm.Replication.Automatic()), labels={"a": "1"})
    create = lambda: google.create_secret(parent=PARENT, secret_id="life", secret=automatic)
    made = create()
    name = f"{PARENT}/secrets/life"
    assert made.name.endswith("/secrets/life") and made.etag and made.create_time, made
    assert made.replication.automatic is not None and dict(made.labels) == {"a": "1"}
    expect("ALREADY_EXISTS", create)
    expect("NOT_FOUND", lambda: google.get_secret(name=f"{PARENT}/secrets/none"))

    one, two = add(google, name, b"one"), add(google, name, b"two")
    assert one.name.endswith("/versions/1") and two.name.endswith("/versions/2"), (one, two)
    assert one.state == STATE.ENABLED and one.client_specified_payload_checksum and one.etag != two.etag
    wrong = sm.SecretPayload(data=b"three", data_crc32c=1)
    expect("INVALID_ARGUMENT", lambda: google.add_secret_version(parent=name, payload=wrong))
    expect("INVALID_ARGUMENT", lambda: add(google, name, b""))
    expect("INVALID_ARGUMENT", lambda: add(google, name, b"x" * 65537))
    accessed = google.access_secret_version(name=f"{name}/versions/1").payload
    assert accessed.data == b"one" and accessed.data_crc32c == google_crc32c.value(b"one")
    assert google.get_secret(name=name).etag == made.etag, "versions leave the secret's etag alone"

    disabled = google.disable_secret_version(request={"name": f"{name}/versions/1", "etag": one.etag})
    assert disabled.state == STATE.DISABLED and disabled.etag != one.etag
    expect("FAILED_PRECONDITION", lambda: google.access_secret_version(name=f"{name}/versions/1"))
    stale = {"name": f"{name}/versions/1", "etag": one.etag}
    expect("FAILED_PRECONDITION", lambda: google.destroy_secret_version(request=stale))
    destroyed = google.destroy_secret_version(request={**stale, "etag": disabled.etag})
    assert destroyed.state == STATE.DESTROYED
    states = [version.state for version in google.list_secret_versions(parent=name)]
    assert states == [STATE.ENABLED, STATE.DESTROYED], states
    enabled = google.list_secret_versions(request={"parent": name, "filter": "state:ENABLED"})
    assert [version.name for version in enabled] == [two.name]

    changed = sm.Secret(name=name, etag=made.etag, labels={"b": "2"}, annotations={"x.y": "z"})
    mask = {"paths": ["labels", "annotations"]}
    patched = google.update_secret(secret=changed, update_mask=mask)
    assert dict(patched.labels) == {"b": "2"} and dict(patched.annotations) == {"x.y": "z"}
    assert patched.etag != made.etag
    expect("FAILED_PRECONDITION", lambda: google.update_secret(secret=changed, update_mask=mask))

    for n in range(30):
        google.create_secret(parent=PARENT, secret_id=f"many-{n}", secret=automatic)
    pages = google.list_secrets(request={"parent": PARENT, "filter": "labels.a=1", "page_size": 7})
    assert len(list(pages)) == 30
    delete = lambda etag: google.delete_secret(request={"name": name, "etag": etag})
    expect("FAILED_PRECONDITION", lambda: delete(made.etag))
    delete(patched.etag)
    expect("NOT_FOUND", lambda: google.get_secret(name=name))
    elsewhere = "projects/another-project/secrets/life"
    expect("PERMISSION_DENIED", lambda: google.get_secret(name=elsewhere))
    return "as Google does"


def find(google):
    """What keyferry wrote, as the client sees it."""
    found = {}
    for secret in google.list_secrets(parent=PARENT):
        name = f"{PARENT}/secrets/{secret.name.rsplit('/', 1)[1]}"
        versions = list(google.list_secret_versions(parent=name))
        newest = max(int(v.name.rsplit("/", 1)[1]) for v in versions if v.state == STATE.ENABLED)
        value = google.access_secret_version(name=f"{name}/versions/{newest}").payload.data
        managed = secret.replication.user_managed
        found[name.rsplit("/", 1)[1]] = {
            "value": base64.b64encode(value).decode(),
            "labels": dict(secret.labels),
            "annotations": dict(secret.annotations),
            "versions": {v.name.rsplit("/", 1)[1]: v.state.name for v in versions},
            "locations": {
                replica.location: replica.customer_managed_encryption.kms_key_name
                for replica in managed.replicas
            },
        }
    return found


print(json.dumps({"find": find, "behave": behave}[sys.argv[1]](client())))
