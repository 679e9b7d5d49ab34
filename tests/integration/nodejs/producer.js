// A producer with nothing but the NATS client: publish JSON, wait for the answer.
// Usage: node producer.js URL SEED_FILE USER TENANT < request.json
const fs = require("node:fs");
const { connect, nkeyAuthenticator } = require("nats");

async function main() {
  const [url, seedFile, user, tenant] = process.argv.slice(2);
  const request = JSON.parse(fs.readFileSync(0, "utf8"));
  const seed = new TextEncoder().encode(fs.readFileSync(seedFile, "utf8").trim());
  const connection = await connect({
    servers: url,
    authenticator: nkeyAuthenticator(seed),
    inboxPrefix: `_INBOX_${user}`,
  });
  const answers = connection.subscribe(`ev.answer.${tenant}.>`);
  await connection.flush();
  const subject = `ev.request.${tenant}.${request.request_id}.0`;
  const stored = await connection.request(subject, JSON.stringify(request), { timeout: 10000 });
  if (stored.json().error) throw new Error(stored.json().error.description);
  for await (const message of answers) {
    if (message.subject.split(".")[3] !== request.request_id) continue;
    console.log(JSON.stringify(message.json()));
    break;
  }
  await connection.close();
}

main().catch((error) => {
  console.error(error.message);
  process.exit(1);
});
