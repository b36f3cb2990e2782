// Attempts of a partner that uses kafkajs: prints one JSON line each, {"attempt", "outcome"}.
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import process from 'node:process';

const env = process.env;
const { Kafka, logLevel, ConfigResourceTypes, AclResourceTypes, AclOperationTypes,
  AclPermissionTypes, ResourcePatternTypes } = createRequire(`${env.EXAMPLE}/`)('kafkajs');
// It says no more of a group or a transaction whose coordinator it may not ask for.
const refusals = new Set([
  'KafkaJSGroupCoordinatorNotFound',
  'TOPIC_AUTHORIZATION_FAILED', 'GROUP_AUTHORIZATION_FAILED', 'CLUSTER_AUTHORIZATION_FAILED',
  'TRANSACTIONAL_ID_AUTHORIZATION_FAILED',
]);

const kafka = new Kafka({
  clientId: 'boundary',
  brokers: env.SERVERS.split(','),
  ssl: { ca: [readFileSync(env.CA)] },
  sasl: { mechanism: 'scram-sha-512', username: env.KAFKA_USER, password: env.KAFKA_PASSWORD },
  logLevel: logLevel.NOTHING,
  retry: { retries: 0 },
});
const { OWN_TOPIC: own, OTHER_TOPIC: other, OTHER_GROUP: otherGroup } = env;

const admin = kafka.admin();

async function produce(topic, options = {}) {
  const producer = kafka.producer({ allowAutoTopicCreation: false, ...options });
  await producer.connect();
  try {
    if (!options.transactionalId) return await producer.send({ topic, messages: [{ value: '{}' }] });
    const transaction = await producer.transaction();
    await transaction.send({ topic, messages: [{ value: '{}' }] });
    return await transaction.commit();
  } finally {
    await producer.disconnect();
  }
}

async function consume(topic, groupId) {
  const consumer = kafka.consumer({ groupId, retry: { retries: 0 }, allowAutoTopicCreation: false });
  await consumer.connect();
  try {
    await new Promise((resolve, reject) => {
      consumer.on(consumer.events.CRASH, ({ payload }) => reject(payload.error));
      setTimeout(() => reject(new Error('neither a record nor a refusal')), 15000).unref();
      consumer.subscribe({ topic, fromBeginning: true })
        .then(() => consumer.run({ autoCommit: false, eachMessage: async () => resolve() }))
        .catch(reject);
    });
  } finally {
    await consumer.disconnect();
  }
}

const mine = `${env.GROUP}.kafkajs`;
const attempts = {
  [`read ${other}`]: () => consume(other, mine),
  'read lock-events': () => consume(env.INTERNAL_TOPICS.split(',')[0], mine),
  'read the registry': () => consume(env.INTERNAL_TOPICS.split(',')[3], mine),
  "read as a member of another's group": () => consume(own, otherGroup),
  'write to its own topic': () => produce(own),
  'write a fact': () => produce(env.INTERNAL_TOPICS.split(',')[1]),
  'write in a transaction': () => produce(own, { transactionalId: `kafkajs-${Date.now()}` }),
  'create a topic': () => admin.createTopics({ topics: [{ topic: `${own}.replay.js${Date.now()}` }] }),
  "change another's topic": () => admin.alterConfigs({
    validateOnly: false,
    resources: [{
      type: ConfigResourceTypes.TOPIC, name: other,
      configEntries: [{ name: 'retention.ms', value: '1000' }],
    }],
  }),
  'allow itself more': () => admin.createAcls({
    acl: [{
      resourceType: AclResourceTypes.TOPIC, resourceName: other,
      resourcePatternType: ResourcePatternTypes.LITERAL, principal: `User:${env.KAFKA_USER}`,
      host: '*', operation: AclOperationTypes.READ, permissionType: AclPermissionTypes.ALLOW,
    }],
  }),
  "delete another's group": () => admin.deleteGroups([otherGroup]),
  "delete another's topic": () => admin.deleteTopics({ topics: [other] }),
};

function reasons(error) {
  const inner = [error?.cause, error?.originalError, ...(error?.errors ?? []), ...(error?.groups ?? [])];
  const below = inner.filter((one) => one && one !== error).flatMap(reasons);
  return [error?.name, error?.type, error?.error?.type, ...below].filter(Boolean);
}

await admin.connect();
for (const [attempt, run] of Object.entries(attempts)) {
  let outcome = 'allowed';
  try {
    await run();
  } catch (error) {
    outcome = reasons(error).some((type) => refusals.has(type)) ? 'refused' : String(error);
  }
  console.log(JSON.stringify({ attempt, outcome }));
}
await admin.disconnect();
process.exit(0);
