"""Runs the official Python SDK on request: a job as JSON on stdin, its results as JSON on stdout."""

import base64
import json
import sys

from keeper_secrets_manager_core import SecretsManager, keeper_globals
from keeper_secrets_manager_core.core import CreateOptions
from keeper_secrets_manager_core.dto.dtos import KeeperFileUpload, RecordCreate, RecordField
from keeper_secrets_manager_core.dto.payload import QueryOptions
from keeper_secrets_manager_core.storage import InMemoryKeyValueStorage


def shown(value):
    if isinstance(value, bytes):
        return {"bytes": base64.b64encode(value).decode()}
    return {"json": value}


def record_json(record):
    return {
        "uid": record.uid,
        "title": record.title,
        "body": json.loads(record.raw_json),
        "revision": record.revision,
        "folder": record.folder_uid,
        "inner": record.inner_folder_uid,
        "files": [{"uid": f.f["fileUid"], "name": f.name, "title": f.title, "size": f.size} for f in record.files],
        "links": [link.get_link_data(record.record_key_bytes) for link in record.get_links()],
    }


class Jobs:
    def __init__(self, client):
        self.client = client

    def one(self, uid):
        return self.client.get_secrets([uid])[0]

    def notation(self, text):
        return shown(self.client.get_notation(text))

    def records(self):
        found = self.client.get_secrets_with_options(QueryOptions(None, None, True))
        return [record_json(record) for record in found]

    def bad(self):
        answer = self.client.get_secrets(full_response=True)
        return [bad["r"]["recordUid"] for bad in answer.bad_records]

    def folders(self):
        return [{"uid": f.folder_uid, "parent": f.parent_uid, "name": f.name} for f in self.client.get_folders()]

    def config(self):
        return self.client.config.read_storage()

    def create(self, folder, subfolder, title, login):
        record = RecordCreate("login", title)
        record.fields = [RecordField(field_type="login", value=[login])]
        return self.client.create_secret_with_options(CreateOptions(folder, subfolder), record)

    def update(self, uid, title, transaction):
        record = self.one(uid)
        record.title = title
        record._update()
        return self.client.save(record, transaction)

    def settle(self, uid, rollback):
        return self.client.complete_transaction(uid, rollback)

    def delete(self, uids):
        return self.client.delete_secret(uids)

    def create_folder(self, folder, subfolder, name):
        return self.client.create_folder(CreateOptions(folder, subfolder), name)

    def rename_folder(self, uid, name):
        return self.client.update_folder(uid, name)

    def delete_folders(self, uids, force):
        return self.client.delete_folder(uids, force)

    def upload(self, uid, name, title, content):
        upload = KeeperFileUpload(name, title, "text/plain", base64.b64decode(content))
        return self.client.upload_file(self.one(uid), upload)

    def download(self, uid, file):
        found = next(f for f in self.one(uid).files if f.f["fileUid"] == file)
        return base64.b64encode(found.get_file_data()).decode()

    def remove_files(self, uid, files):
        return self.client.save(self.one(uid), links_to_remove=files)


def main():
    job = json.load(sys.stdin)
    keeper_globals.keeper_public_keys.update(job["server_keys"])
    if "token" in job:
        client = SecretsManager(token=job["token"], hostname=job["hostname"], config=InMemoryKeyValueStorage())
    else:
        client = SecretsManager(config=InMemoryKeyValueStorage(json.dumps(job["config"])))
    jobs = Jobs(client)
    results = []
    for name, *arguments in job["do"]:
        try:
            results.append({"ok": getattr(jobs, name)(*arguments)})
        except Exception as error:
            results.append({"error": type(error).__name__, "text": str(error)})
    json.dump(results, sys.stdout)


main()
