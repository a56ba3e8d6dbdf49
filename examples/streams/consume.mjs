#!/usr/bin/env node
// Follows events as a named consumer, which the daemon remembers, and commits what it has done; needs nothing but Node 18.
//
//   consume.mjs http://127.0.0.1:9464 NAME ['events=trading&key=BTCUSDT']
//
// Prints an event a line. A consumer that comes for the first time begins with the first event that is kept. SLUICE_TOKEN is shown as
// the token.
const [address, name, query] = process.argv.slice(2);
const token = process.env.SLUICE_TOKEN;
const headers = token ? { authorization: `Bearer ${token}` } : {};

async function commit(offset) {
  const answer = await fetch(`${address}/v1/consumers/${name}`, {
    method: "PUT",
    headers: { ...headers, "content-type": "application/json" },
    body: JSON.stringify({ offset }),
  });
  // It is durable when it is answered.
  if (!answer.ok) throw new Error(await answer.text());
}

async function follow() {
  const url = `${address}/v1/sse/events?consumer=${name}&from=0${query ? `&${query}` : ""}`;
  const answer = await fetch(url, { headers });
  if (!answer.ok) {
    console.error(await answer.text());
    if ([400, 401, 403, 404, 410].includes(answer.status)) process.exit(1);
    return;
  }
  let rest = "";
  const decoder = new TextDecoder();
  for await (const bytes of answer.body) {
    rest += decoder.decode(bytes, { stream: true });
    const messages = rest.split("\n\n");
    rest = messages.pop();
    let last;
    for (const message of messages) {
      const of = Object.fromEntries(message.split("\n").map((line) => line.split(/: (.*)/s, 2)));
      if (of.event === "event") {
        console.log(of.data);
        last = Number(of.id);
      } else if (of.event === "closed") console.error(of.data);
    }
    // Once for all that came together.
    if (last !== undefined) await commit(last);
  }
}

for (;;) {
  await follow().catch((error) => console.error(String(error.cause ?? error)));
  await new Promise((wake) => setTimeout(wake, 1000));
}
