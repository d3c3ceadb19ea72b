# Keeps one PostgreSQL for the process at the other end of standard input. When that process is gone, however it went,
# `read` meets the end of the file: PostgreSQL is stopped and its directory removed.
#
# $1 directory of initdb and pg_ctl · $2 where to make the directory · $3 a directory to use and keep instead, or ''
# Commands, one a line: init | start PORT | stop MODE. Each is answered by a line: ok … | failed …
set -u
bin=$1 parent=$2 kept=$3

# The owner may be gone when a command is answered; that must not end this script before it has cleaned up.
trap '' PIPE
# A termination signal ends the loop, not the script. (Not ignored: what is ignored here would be ignored in PostgreSQL.)
trap : HUP INT TERM
umask 077

if [ -n "$kept" ]; then
    root=$kept
else
    root=$(mktemp -d "$parent/workflow-worker-pg.XXXXXX" 2>&1) || { echo "failed $root"; exit 1; }
fi
data=$root/data
output=$root/output

stop() {
    "$bin/pg_ctl" stop -s -w -t 60 -m "$1" -D "$data" </dev/null >"$output" 2>&1
}

finish() {
    if [ -n "$kept" ]; then
        stop fast
    else
        stop immediate
        cd / && rm -rf -- "$root"
    fi
}

answer() {
    if "$@"; then echo ok; else echo failed; fi
}

init() {
    mkdir -p "$root/socket" && {
        [ -e "$data/PG_VERSION" ] ||
            "$bin/initdb" -D "$data" -U postgres -A trust -E UTF8 --locale=C --no-sync </dev/null >"$output" 2>&1
    }
}

start() {
    "$bin/pg_ctl" start -s -w -t 60 -D "$data" -l "$root/log" -o "-p $1" </dev/null >"$output" 2>&1
}

echo "ok $root"
while read -r verb argument; do
    case $verb in
        init) answer init ;;
        start) answer start "$argument" ;;
        stop) answer stop "$argument" ;;
        *) echo "failed unknown command" ;;
    esac
done
finish
