"""Microsoft's own client against the pretend vault: does it take what we say for Azure, and does it find
what keyferry wrote? Reads settings from the environment, prints one JSON object, and fails loudly.

The client insists on https; its transport is told where that really goes. Everything else is its own:
the challenge, the sign-in by MSAL, paging, pollers, errors.
"""

import json
import os
import sys

from azure.core.exceptions import HttpResponseError, ResourceExistsError, ResourceNotFoundError
from azure.core.pipeline.transport import RequestsTransport
from azure.identity import ClientSecretCredential
from azure.keyvault.secrets import ApiVersion, SecretClient

BASE = os.environ["JUDGE_BASE"]  # http://127.0.0.1:port
VAULT = os.environ["JUDGE_VAULT"]  # https://pretend.vault.azure.net


class ToTheFake(RequestsTransport):
    """Sends what is meant for the vault or its authority to the pretend service."""

    def send(self, request, **kwargs):
        url = request.url
        scheme, rest = url.split("://", 1)
        host, _, path = rest.partition("/")
        assert scheme == "https", url
        request.headers["Host"] = host
        request.url = f"{BASE}/{path}"
        try:
            return super().send(request, **kwargs)
        finally:
            request.url = url


def client():
    host = VAULT.split("://", 1)[1]
    credential = ClientSecretCredential(
        os.environ["JUDGE_TENANT"],
        os.environ["JUDGE_CLIENT"],
        os.environ["JUDGE_SECRET"],
        authority=host,
        disable_instance_discovery=True,
        transport=ToTheFake(),
    )
    return SecretClient(VAULT, credential, api_version=ApiVersion.V7_4, transport=ToTheFake(), retry_total=0)


def describe(properties):
    return {
        "name": properties.name,
        "version": properties.version,
        "tags": properties.tags,
        "content_type": properties.content_type,
        "enabled": properties.enabled,
        "created": properties.created_on.isoformat() if properties.created_on else None,
        "managed": properties.managed,
    }


def find(vault):
    """What keyferry wrote, as the client sees it."""
    names = sorted(p.name for p in vault.list_properties_of_secrets())
    found = {}
    for name in names:
        secret = vault.get_secret(name)
        versions = [describe(p) for p in vault.list_properties_of_secret_versions(name)]
        found[name] = {"value": secret.value, "current": describe(secret.properties), "versions": versions}
    return found


def behave(vault):
    """The life of a secret, as the client expects it of Azure."""
    made = vault.set_secret("life", "one", tags={"a": "1"}, content_type="text/plain")
    assert made.properties.version and made.properties.tags == {"a": "1"}, made
    again = vault.set_secret("life", "two")
    assert again.properties.version != made.properties.version
    assert vault.get_secret("life").value == "two"
    assert vault.get_secret("life", made.properties.version).value == "one"
    assert not vault.get_secret("life").properties.tags, "tags belong to a version"
    changed = vault.update_secret_properties("life", again.properties.version, tags={"b": "2"})
    assert changed.tags == {"b": "2"} and changed.version == again.properties.version
    assert len(list(vault.list_properties_of_secret_versions("life"))) == 2
    assert list(vault.list_properties_of_secret_versions("none")) == []

    for n in range(60):
        vault.set_secret(f"many-{n:02}", "x")
    assert len([p for p in vault.list_properties_of_secrets() if p.name.startswith("many-")]) == 60

    poller = vault.begin_delete_secret("LIFE", _polling_interval=0)
    deleted = poller.result()
    poller.wait()
    assert deleted.name == "life" and deleted.recovery_id and deleted.scheduled_purge_date
    assert deleted.properties.recovery_level == "Recoverable+Purgeable", deleted.properties.recovery_level
    expect(ResourceNotFoundError, "SecretNotFound", lambda: vault.get_secret("life"))
    expect(ResourceExistsError, "Conflict", lambda: vault.set_secret("life", "three"))
    assert vault.get_deleted_secret("life").properties.tags == {"b": "2"}
    recovering = vault.begin_recover_deleted_secret("life", _polling_interval=0)
    recovering.wait()
    assert vault.get_secret("life").value == "two"
    vault.begin_delete_secret("life", _polling_interval=0).wait()
    vault.purge_deleted_secret("life")
    expect(ResourceNotFoundError, "SecretNotFound", lambda: vault.get_deleted_secret("life"))

    expect(HttpResponseError, "BadParameter", lambda: vault.set_secret("large", "x" * 25_601))
    expect(HttpResponseError, "BadParameter", lambda: vault.set_secret("tags", "x", tags={str(n): "" for n in range(16)}))
    expect(HttpResponseError, "BadParameter", lambda: vault.set_secret("a_b", "x"))
    assert vault.set_secret("empty", "").value == ""
    return "as Azure does"


def expect(kind, code, call):
    try:
        call()
    except kind as error:
        assert error.error and error.error.code == code, error
        return
    raise AssertionError(f"this had to be refused with {code}")


def write(vault):
    """A PUT and a PATCH of the client's own, to be compared with ours."""
    made = vault.set_secret("Db", 'a"b\n', tags={"team": "x y"})
    vault.update_secret_properties("Db", made.properties.version, tags={"team": "z"})
    return made.properties.version


print(json.dumps({"find": find, "behave": behave, "write": write}[sys.argv[1]](client())))
