"""Runs the official CLI with the pretend server's keys in its table, and without asking PyPI for news."""

import json
import os
import sys

import update_checker
from keeper_secrets_manager_core import keeper_globals

keeper_globals.keeper_public_keys.update(json.loads(os.environ.pop("TEST_SERVER_KEYS")))
update_checker.UpdateChecker.check = lambda *_, **__: None

from keeper_secrets_manager_cli.__main__ import main  # noqa: E402

sys.argv[0] = "ksm"
sys.exit(main())
