#!/usr/bin/env bash
# Asks a running API of jobs whether it works: ADMIN_TOKEN=... smoke-test.sh http://127.0.0.1:7007
# Changes nothing. Exit 0 if everything is well, 1 with a line that says what is not, 2 for wrong usage.
set -euo pipefail

if [[ $# -ne 1 || -z "${ADMIN_TOKEN:-}" ]]; then
  echo "usage: ADMIN_TOKEN=... $0 URL, such as https://api.example.com/scheduler" >&2
  exit 2
fi
url="${1%/}"
patience="${PATIENCE_SECONDS:-60}"
answer="$(mktemp)"
trap 'rm -f "$answer"' EXIT

# Prints the status of a GET, 000 if nobody answers; the body is in $answer. The token stands in no list of processes.
ask() {
  local path="$1" token="${2:-}" header="Accept: application/json"
  [[ -n "$token" ]] && header="Authorization: Bearer $token"
  curl --silent --output "$answer" --write-out '%{http_code}' --max-time 10 --header @- "$url$path" <<<"$header" || true
}

fail() {
  echo "smoke test: $1" >&2
  head -c 1000 "$answer" >&2 || true
  exit 1
}

expect() {
  local path="$1" wanted="$2" text="$3" token="${4:-}" status
  status="$(ask "$path" "$token")"
  [[ "$status" == "$wanted" ]] || fail "$path answered $status, not $wanted"
  grep -q "$text" "$answer" || fail "$path answered without $text"
  echo "$path: $status"
}

deadline=$((SECONDS + patience))
until [[ "$(ask /health)" == 200 ]]; do
  ((SECONDS < deadline)) || fail "/health is not 200 after $patience s"
  sleep 1
done
expect /health 200 '"status": *"healthy"'
expect /livez 200 '"status"'
expect /readyz 200 '"status"'
expect /api/jobs 401 '"error"' "token-of-nobody-at-all"
expect /api/jobs 200 '"jobs"' "$ADMIN_TOKEN"
