#!/bin/sh
# Records that a temporary web key opened a lock: use-temp-key.sh [TEMP_KEY_UUID [USER_ID]]
# Needs curl 7.71 or later.
set -eu

# One per door opening: every repeat carries the same.
idempotency_key=$(od -An -N16 -tx1 /dev/urandom | tr -d ' \n')
answer=$(mktemp -d)
trap 'rm -rf "$answer"' EXIT

fail() { echo "$*" >&2; exit 1; }

give_up() { fail "no final answer in time; repeat with the Idempotency-Key $idempotency_key"; }

quoted() { printf '"%s"' "$(printf %s "$1" | sed 's/[\\"]/\\&/g')"; }

# call PATH [CURL OPTIONS…]: sets `status`; the answer lies in the files `headers` and `body`.
# curl itself repeats what got no answer, 429 and 503, and honours Retry-After. 10 seconds is longer
# than the service takes to say 503 itself. The credentials go through standard input, because a
# command line is for everybody to see.
call() {
    path=$1; shift
    : >"$answer/headers"
    status=$(curl --config - --silent --show-error --max-time 10 \
        --retry 100 --retry-all-errors --retry-max-time "${TIMEOUT:-30}" \
        --dump-header "$answer/headers" --output "$answer/body" --write-out '%{http_code}' \
        "$@" "$BASE_URL$path" <<END
header = "Authorization: Bearer $TOKEN"
header = "X-API-Key: $API_KEY"
header = "Content-Type: application/json"
header = "Idempotency-Key: $idempotency_key"
END
    ) || give_up
    case $status in
    429 | 503) give_up ;;
    [45]*) fail "$status $(cat "$answer/body")" ;;
    esac
}

header() {
    tr -d '\r' <"$answer/headers" | awk -F ': ' -v name="$1" 'tolower($1) == name { value = $2 } END { print value }'
}

call "/locks/$LOCK_ID/use-temp-key" \
    --data "{\"tempKeyUuid\":$(quoted "${1-example-temp-key}"),\"userId\":$(quoted "${2-example-user}")}"
location=$(header location)
give_up_at=$(($(date +%s) + ${TIMEOUT:-30}))
while grep -q '"status":"pending"' "$answer/body"; do # 202: safe in the log, its version is to come
    pause=$(header retry-after)
    [ $(($(date +%s) + ${pause:-1})) -le $give_up_at ] || give_up
    sleep "${pause:-1}"
    call "$location"
done
grep -q '"version":' "$answer/body" || fail "not recorded: $(cat "$answer/body")"
cat "$answer/body"
echo
