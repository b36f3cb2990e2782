// Records that a temporary web key opened a lock: use-temp-key.mjs [TEMP_KEY_UUID [USER_ID]]
import { randomUUID } from 'node:crypto';
import process from 'node:process';
import { setTimeout as sleep } from 'node:timers/promises';

const { BASE_URL, TOKEN, API_KEY, LOCK_ID, TIMEOUT = '30' } = process.env;
const ATTEMPT_TIMEOUT_MS = 10_000; // longer than the service takes to say 503 itself

async function main(tempKeyUuid = 'example-temp-key', userId = 'example-user') {
  const giveUpAt = Date.now() + Number(TIMEOUT) * 1000;
  const key = randomUUID(); // one per door opening: every repeat below carries the same
  let path = `/locks/${LOCK_ID}/use-temp-key`;
  let command = { method: 'POST', body: JSON.stringify({ tempKeyUuid, userId }) };
  for (let pause = 0.5; ; pause = Math.min(2 * pause, 8)) {
    const { status, headers, text } = await attempt(path, command, key);
    if ([undefined, 429, 503].includes(status)) {
      console.error(`trying again after ${status ?? text}`);
    } else if (status >= 400) {
      return fail(describe(status, text));
    } else {
      const answer = JSON.parse(text);
      if (answer.version !== undefined) {
        // As it came: a lockId may pass 2^53, where JSON.parse makes it another lock's. Where you
        // keep what was parsed, name the lock by event.data.lockUuid.
        console.log(text);
        return;
      }
      if (answer.status !== 'pending') return fail(`not recorded: ${text}`);
      if (status === 202) { // it is safe in the log; its version will be found here
        path = headers.get('Location');
        command = { method: 'GET' };
      }
      pause = 0.5;
    }
    const retryAfter = headers.get('Retry-After') ?? '';
    const seconds = /^\d+$/.test(retryAfter) ? Number(retryAfter) : pause * (0.5 + Math.random() / 2);
    if (Date.now() + seconds * 1000 > giveUpAt) {
      return fail(`no final answer in time; repeat with the Idempotency-Key ${key}`);
    }
    await sleep(seconds * 1000);
  }
}

/** The answer's status, headers and text; without a status, and the reason as text, if none came. */
async function attempt(path, command, key) {
  const headers = {
    Authorization: `Bearer ${TOKEN}`,
    'X-API-Key': API_KEY,
    'Content-Type': 'application/json',
    'Idempotency-Key': key,
  };
  const signal = AbortSignal.timeout(ATTEMPT_TIMEOUT_MS);
  try {
    const response = await fetch(BASE_URL + path, { ...command, headers, signal });
    return { status: response.status, headers: response.headers, text: await response.text() };
  } catch (error) {
    return { headers: new Headers(), text: String(error.cause ?? error) };
  }
}

function describe(status, text) {
  try {
    const { error, message, details = [] } = JSON.parse(text);
    return [`${status} ${error}: ${message}`, ...details.map((d) => `  ${d.field}: ${d.message}`)].join('\n');
  } catch {
    return `${status}: ${text.slice(0, 500)}`; // not from the service: from a proxy, say
  }
}

function fail(reason) {
  console.error(reason);
  process.exitCode = 1;
}

await main(...process.argv.slice(2));
