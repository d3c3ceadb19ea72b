# What the scripts share: finding what they need, and installing what is missing. Sourced, not run.
# shellcheck shell=bash

OLDEST_POSTGRESQL=13

say() { printf '==> %s\n' "$*" >&2; }

die() {
    printf 'error: %s\n' "$*" >&2
    exit 1
}

have() { command -v "$1" >/dev/null 2>&1; }

# apt_install PACKAGE… as root or through sudo; says what it does, and shows the output only when it fails.
apt_install() {
    local sudo=()
    have apt-get || die "$* must be installed by hand: this machine has no apt-get"
    if [ "$(id -u)" -ne 0 ]; then
        have sudo || die "$* must be installed: run 'apt-get install $*' as root"
        sudo=(sudo)
    fi
    say "installing $* (apt-get)"
    local log
    log=$(mktemp)
    if ! {
        "${sudo[@]}" apt-get update -q &&
            "${sudo[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends "$@"
    } >"$log" 2>&1; then
        cat "$log" >&2
        rm -f "$log"
        die "$* could not be installed"
    fi
    rm -f "$log"
}

# The directory of initdb, pg_ctl and postgres, nothing where there is none. The worker looks in the same places.
postgresql_bin() {
    local directory directories=()
    if have initdb; then
        directories+=("$(dirname "$(readlink -f "$(command -v initdb)")")")
    fi
    while read -r directory; do
        directories+=("$directory")
    done < <(printf '%s\n' /usr/lib/postgresql/*/bin /usr/pgsql-*/bin | sort -rV)
    if have pg_config; then
        directories+=("$(pg_config --bindir)")
    fi
    for directory in "${directories[@]}"; do
        if [ -x "$directory/initdb" ] && [ -x "$directory/pg_ctl" ] && [ -x "$directory/postgres" ]; then
            printf '%s\n' "$directory"
            return
        fi
    done
}

need_postgresql() {
    local bin version
    bin=$(postgresql_bin)
    if [ -z "$bin" ]; then
        apt_install postgresql
        bin=$(postgresql_bin)
    fi
    [ -n "$bin" ] || die "PostgreSQL is installed, but its initdb, pg_ctl and postgres are in none of the usual places"
    version=$("$bin/postgres" --version | sed -E 's/[^0-9]*([0-9]+).*/\1/')
    [ "$version" -ge "$OLDEST_POSTGRESQL" ] ||
        die "PostgreSQL in $bin has version $version; $OLDEST_POSTGRESQL or newer is needed"
}

need_pgbouncer() {
    if ! have pgbouncer && [ ! -x /usr/sbin/pgbouncer ]; then
        apt_install pgbouncer
    fi
}

# For the tests: the activity host in integrations/python.
need_python() {
    if ! have python3; then
        apt_install python3
    fi
    python3 -c 'import sys; sys.exit(sys.version_info < (3, 10))' ||
        die "$(python3 --version) is too old; 3.10 or newer is needed"
}

# For the tests: the examples in docs/sql.md for Node.
need_node() {
    if ! have node; then
        apt_install nodejs
    fi
    if ! have npm; then
        apt_install npm
    fi
    node -e 'process.exit(Number(process.versions.node.split(".")[0]) < 18 ? 1 : 0)' ||
        die "Node $(node --version) is too old; 18 or newer is needed"
}

# For the tests: the database drivers of the examples in docs/sql.md, in these versions, beside what cargo builds.
PSYCOPG_VERSION=3.3.9
NODE_PG_VERSION=8.23.1
need_drivers() {
    local directory="${CARGO_TARGET_DIR:-target}/drivers" log
    local versions="psycopg $PSYCOPG_VERSION, pg $NODE_PG_VERSION"
    if [ -r "$directory/versions" ] && [ "$(cat "$directory/versions")" = "$versions" ]; then
        return
    fi
    if ! python3 -c 'import ensurepip, venv' 2>/dev/null; then
        apt_install python3-venv
    fi
    say "installing $versions for the examples, in $directory"
    rm -rf "$directory"
    mkdir -p "$directory/node"
    log=$(mktemp)
    if ! {
        python3 -m venv "$directory/python" &&
            "$directory/python/bin/pip" install --quiet --disable-pip-version-check "psycopg[binary]==$PSYCOPG_VERSION" &&
            npm install --silent --no-audit --no-fund --no-save --prefix "$directory/node" "pg@$NODE_PG_VERSION"
    } >"$log" 2>&1; then
        cat "$log" >&2
        rm -f "$log"
        die "the drivers could not be installed"
    fi
    rm -f "$log"
    printf '%s\n' "$versions" >"$directory/versions"
}

# Rust, and the C compiler and linker that building QuickJS needs.
need_compilers() {
    if ! have cargo && [ -r "${CARGO_HOME:-${HOME:-/root}/.cargo}/env" ]; then
        # shellcheck disable=SC1091
        . "${CARGO_HOME:-${HOME:-/root}/.cargo}/env"
    fi
    have cargo || die "Rust is missing: see https://rustup.rs, or install the package cargo if it is 1.95 or newer"
    if ! have cc; then
        apt_install gcc libc6-dev
    fi
}
