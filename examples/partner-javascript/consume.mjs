// Reads a partner's topic and proves that nothing is missing: consume.mjs [--count N]
import { randomUUID } from 'node:crypto';
import { readFileSync } from 'node:fs';
import process from 'node:process';
import { parseArgs } from 'node:util';
import { Kafka, logLevel } from 'kafkajs';

const { PARTNER_BOOTSTRAP_SERVERS, PARTNER_USERNAME, PARTNER_PASSWORD, PARTNER_CA } = process.env;
const { PARTNER_ID, PARTNER_TOPIC, TIMEOUT = '30' } = process.env;
const { values } = parseArgs({ options: { count: { type: 'string' } } });
const count = Number(values.count ?? Infinity);

const kafka = new Kafka({
  clientId: `${PARTNER_ID}-example`,
  brokers: PARTNER_BOOTSTRAP_SERVERS.split(','),
  ssl: PARTNER_CA ? { ca: [readFileSync(PARTNER_CA)] } : true,
  sasl: { mechanism: 'scram-sha-512', username: PARTNER_USERNAME, password: PARTNER_PASSWORD },
  logLevel: logLevel.ERROR,
});
const consumer = kafka.consumer({
  groupId: `${PARTNER_ID}.example.${randomUUID()}`, // a new one each time, to read from the start
  readUncommitted: false, // read_committed: what was never committed has not happened
});

const last = new Map(); // the sequence that was last seen in each partition
let seen = 0;

/** Prints the event. Returns the reason to stop, if there is one. */
function take({ partition, message }) {
  const sequence = Number(message.headers?.sequence ?? -1);
  const expected = (last.get(partition) ?? 0) + 1;
  if (sequence !== expected) {
    const kind = sequence < expected ? 'a repeat' : 'events are missing';
    const where = `${PARTNER_TOPIC}[${partition}] offset ${message.offset}`;
    return { failure: `${where}: sequence ${sequence} where ${expected} was due: ${kind}` };
  }
  // As it came: a lockId may pass 2^53, where JSON.parse makes it another lock's. Where you parse
  // it, name the lock by detail.data.lockUuid.
  console.log(message.value.toString());
  last.set(partition, sequence);
  seen += 1;
  return seen === count ? {} : undefined;
}

/** Reads until there is a reason to stop. */
function read() {
  return new Promise((resolve, reject) => {
    let ended = false;
    const end = (reason) => {
      ended = true;
      resolve(reason);
    };
    if (count !== Infinity) {
      const tooLate = () => end({ failure: `${seen} of ${count} events came within ${TIMEOUT} s` });
      setTimeout(tooLate, Number(TIMEOUT) * 1000);
    }
    consumer.on(consumer.events.CRASH, ({ payload }) => reject(payload.error));
    const eachMessage = async (record) => {
      const reason = ended ? undefined : take(record);
      if (reason) end(reason);
    };
    consumer
      .connect()
      .then(() => consumer.subscribe({ topic: PARTNER_TOPIC, fromBeginning: true }))
      .then(() => consumer.run({ autoCommit: false, eachMessage }))
      .catch(reject);
  });
}

const { failure } = await read().catch((error) => ({ failure: `Kafka: ${error.message}` }));
console.error(failure ?? `${seen} events, none missing, none twice`);
await consumer.disconnect();
process.exit(failure ? 1 : 0);
