// Asks a built site's own search as its page does: node search_site.mjs SITE < queries.
// For each query, one line of JSON: the pages, in the order in which they are shown.

import { readFileSync, readdirSync } from "node:fs";
import { join } from "node:path";
import vm from "node:vm";

const [SETUP, QUERY, RESULT] = [0, 2, 3]; // the messages of the theme's worker
const site = process.argv[2];
const workers = join(site, "assets/javascripts/workers");
const [worker] = readdirSync(workers).filter((name) => name.endsWith(".js"));
const { config, docs } = JSON.parse(readFileSync(join(site, "search/search_index.json"), "utf8"));

const listeners = [];
let answered;
const scope = {
  addEventListener: (type, listener) => type === "message" && listeners.push(listener),
  postMessage: (message) => answered(message),
};
scope.self = scope;
vm.runInNewContext(readFileSync(join(workers, worker), "utf8"), scope);

function ask(type, data) {
  return new Promise((done) => {
    answered = done;
    for (const listener of listeners) void listener({ data: { type, data } });
  });
}

await ask(SETUP, { config, docs, options: { suggest: false } });
for (const query of readFileSync(0, "utf8").split("\n").filter(Boolean)) {
  const beginnings = query.split(/\s+/).map((word) => `${word}*`); // as the page asks while one types
  const answer = await ask(QUERY, beginnings.join(" "));
  if (answer.type !== RESULT) throw new Error(`the search answered a message of type ${answer.type}`);
  console.log(JSON.stringify(answer.data.items.map(([page]) => page.location.split("#")[0])));
}
