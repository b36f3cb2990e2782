// Draws asyncapi.json, or what partners may see of it: a card for each channel, a part of it for each message.
"use strict";

const DAY_MS = 24 * 60 * 60 * 1000;

/** An element with attributes and children; texts stay texts. */
function element(name, attributes, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children.flat());
  return made;
}

/** `code` in backticks. */
function prose(text) {
  return text
    .split(/`+([^`]+)`+/)
    .map((part, index) => (index % 2 ? element("code", {}, part) : part));
}

function resolve(document_, part) {
  while (part && part.$ref) {
    part = part.$ref.slice(2).split("/").reduce((at, step) => at[step], document_);
  }
  return part;
}

function duration(ms) {
  if (ms === undefined) return "the broker's default";
  return ms < 0 ? "for ever" : `${ms / DAY_MS} days`;
}

/** What a value may be, and its limits, in a few words. */
function typeOf(schema) {
  if (schema.enum) return schema.enum.map((value) => JSON.stringify(value)).join(" | ");
  if (schema.anyOf) return schema.anyOf.map(typeOf).join(" or ");
  if (schema.type === "array") return `list of ${typeOf(schema.items)}`;
  const limits = [];
  if (schema.minimum !== undefined) limits.push(`from ${schema.minimum}`);
  if (schema.minLength !== undefined || schema.maxLength !== undefined) {
    limits.push(`${schema.minLength ?? 0} to ${schema.maxLength ?? "any number of"} characters`);
  }
  if (limits.length === 0 && schema.pattern) limits.push(schema.pattern);
  const type = schema.format || schema.type || "any bytes";
  return limits.length ? `${type}, ${limits.join(", ")}` : type;
}

/** One row a field; an object's own fields follow it, with its name before theirs. */
function fieldRows(document_, schema, prefix) {
  const required = new Set(schema.required || []);
  return Object.entries(schema.properties || {}).flatMap(([name, raw]) => {
    const field = resolve(document_, raw);
    const choices = (field.anyOf || [field]).map((choice) => resolve(document_, choice));
    const present = choices.filter((choice) => choice.type !== "null");
    const path = `${prefix}${name}`;
    const notes = [field, ...present].find((part) => part.description);
    const row = (type) =>
      element("tr", {},
        element("td", {}, element("code", {}, path), required.has(name) ? "" : optional()),
        element("td", {}, type),
        element("td", {}, prose(notes ? notes.description : "")));
    if (present.length === 1 && present[0].type !== "object") return [row(typeOf(present[0]))];
    return present.flatMap((choice) => {
      const kind = choice.properties?.type?.enum?.[0];
      const title = present.length > 1 && kind ? `object, where type is "${kind}"` : "object";
      return [row(title), ...fieldRows(document_, choice, `${path}.`)];
    });
  });
}

function optional() {
  return element("span", { class: "optional" }, " optional");
}

function fieldTable(document_, title, reference) {
  const schema = resolve(document_, reference);
  const rows = schema ? fieldRows(document_, schema, "") : [];
  if (rows.length === 0) return [];
  return [
    element("h5", {}, title),
    element("table", {},
      element("thead", {},
        element("tr", {}, ...["Name", "Type", "Meaning"].map((n) => element("th", {}, n)))),
      element("tbody", {}, ...rows)),
  ];
}

function examples(message) {
  return (message.examples || []).flatMap((example) => [
    element("h5", {}, "Example"),
    element("pre", {}, JSON.stringify(example, null, 2)),
  ]);
}

function messageCard(document_, reference) {
  const message = resolve(document_, reference);
  const key = message.bindings?.kafka?.key;
  return element("details", { class: "message", "data-message": message.name },
    element("summary", {},
      element("strong", {}, message.name), " ", ...prose(message.summary || "")),
    key ? element("p", {}, "Key: ", ...prose(key.description || key.pattern || "")) : "",
    fieldTable(document_, "Headers", message.headers),
    message.payload
      ? fieldTable(document_, "Value", message.payload)
      : element("p", {}, `Value: ${message.contentType}`),
    examples(message));
}

function operationLine(operation) {
  const group = operation.bindings?.kafka?.groupId;
  const named = group && (group.enum ? group.enum.join(", ") : group.description);
  return element("li", {},
    element("span", { class: `action ${operation.action}` },
      operation.action === "send" ? "writes" : "reads"),
    " ", ...prose(operation.summary || ""),
    ...(named ? [" (group ", element("code", {}, named), ")"] : []));
}

function channelCard(document_, name, channel) {
  const kafka = channel.bindings?.kafka || {};
  const operations = Object.values(document_.operations).filter(
    (operation) => operation.channel.$ref === `#/channels/${name}`);
  const facts = [
    ["Partitions", kafka.partitions],
    ["Replicas", kafka.replicas],
    ["Kept", kafka.topicConfiguration?.["cleanup.policy"]?.includes("compact")
      ? "the latest of each key"
      : duration(kafka.topicConfiguration?.["retention.ms"])],
  ];
  return element("article", { class: "card channel", id: `topic-${name}` },
    element("h3", {}, channel.title || name),
    element("p", { class: "address" }, element("code", {}, channel.address)),
    element("p", {}, ...prose(channel.description || "")),
    element("dl", {}, ...facts.map(([label, value]) =>
      element("div", {}, element("dt", {}, label), element("dd", {}, String(value))))),
    element("ul", { class: "operations" }, ...operations.map(operationLine)),
    ...Object.values(channel.messages).map((message) => messageCard(document_, message)));
}

async function drawTopics(place) {
  const whole = await fetch("asyncapi.json"); // answered on the service's own machine only
  const answer = whole.ok ? whole : await fetch("asyncapi/partner.json");
  if (!answer.ok) throw new Error(`asyncapi/partner.json: ${answer.status}`);
  const description = await answer.json();
  place.replaceChildren(
    element("p", { class: "card" }, ...prose(description.info.description)),
    ...Object.entries(description.channels).map(([name, channel]) =>
      channelCard(description, name, channel)));
}

const topicsPlace = document.getElementById("asyncapi");
drawTopics(topicsPlace).catch((error) => {
  topicsPlace.replaceChildren(element("p", { class: "notice" }, String(error)));
});
