"""Records that a temporary web key opened a lock: use_temp_key.py [TEMP_KEY_UUID [USER_ID]]"""

import http.client
import json
import os
import random
import sys
import time
import urllib.error
import urllib.request
import uuid

ATTEMPT_TIMEOUT_S = 10  # longer than the service takes to say 503 itself


def main(temp_key="example-temp-key", user="example-user"):
    give_up_at = time.monotonic() + float(os.environ.get("TIMEOUT", "30"))
    key = str(uuid.uuid4())  # one per door opening: every repeat below carries the same
    method, path = "POST", f"/locks/{os.environ['LOCK_ID']}/use-temp-key"
    command = json.dumps({"tempKeyUuid": temp_key, "userId": user}).encode()
    pause = 0.5
    while True:
        status, headers, text = attempt(method, path, command, key)
        if status in (None, 429, 503):
            print(f"trying again after {status or text}", file=sys.stderr)
        elif status >= 400:
            sys.exit(describe(status, text))
        else:
            answer = json.loads(text)
            if "version" in answer:
                print(json.dumps({"version": answer["version"], "event": answer["event"]}))
                return
            if answer.get("status") != "pending":
                sys.exit(f"not recorded: {text}")
            if status == 202:  # it is safe in the log; its version will be found here
                method, path, command = "GET", headers["Location"], None
            pause = 0.5
        retry_after = headers.get("Retry-After", "")
        seconds = int(retry_after) if retry_after.isdecimal() else pause * random.uniform(0.5, 1)
        pause = min(2 * pause, 8)
        if time.monotonic() + seconds > give_up_at:
            sys.exit(f"no final answer in time; repeat with the Idempotency-Key {key}")
        time.sleep(seconds)


def attempt(method, path, body, key):
    """Status, headers and text of the answer; None, none and the reason where none came."""
    headers = {
        "Authorization": f"Bearer {os.environ['TOKEN']}",
        "X-API-Key": os.environ["API_KEY"],
        "Content-Type": "application/json",
        "Idempotency-Key": key,
    }
    request = urllib.request.Request(os.environ["BASE_URL"] + path, body, headers, method=method)
    try:
        with urllib.request.urlopen(request, timeout=ATTEMPT_TIMEOUT_S) as response:
            return response.status, response.headers, response.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.headers, error.read().decode()
    except (OSError, http.client.HTTPException) as error:
        return None, {}, str(error)


def describe(status, text):
    try:
        error = json.loads(text)
        details = [f"\n  {d['field']}: {d['message']}" for d in error.get("details", [])]
        return f"{status} {error['error']}: {error['message']}{''.join(details)}"
    except ValueError:  # not from the service: from a proxy, say
        return f"{status}: {text[:500]}"


main(*sys.argv[1:])
