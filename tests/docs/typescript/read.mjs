// node read.mjs <answer.ts> <address of the endpoint>: reads an answer with the sample, over connections that break.
import { readFileSync, writeFileSync } from "node:fs";
import ts from "typescript";

const [sample, api] = process.argv.slice(2);
const compiled = sample.replace(/\.ts$/, ".mjs");
const options = { compilerOptions: { module: ts.ModuleKind.ESNext, target: ts.ScriptTarget.ES2022 } };
writeFileSync(compiled, ts.transpileModule(readFileSync(sample, "utf8"), options).outputText);
const { answer, events } = await import(compiled);

const CUTS = [150, 60]; // bytes after which a connection breaks; later ones do not
const asked = [];
const reach = globalThis.fetch;
globalThis.fetch = async (input, init = {}) => {
  const headers = new Headers(init.headers);
  headers.set("X-User", "ann");
  asked.push(`${init.method ?? "GET"} ${headers.get("Last-Event-ID") ? "after a cursor" : "from the beginning"}`);
  const response = await reach(input, { ...init, headers });
  const bytes = CUTS[asked.length - 1];
  if (bytes === undefined || response.body === null) return response;
  let left = bytes;
  const broken = response.body.pipeThrough(
    new TransformStream({
      transform(chunk, controller) {
        controller.enqueue(chunk.subarray(0, left));
        left -= chunk.length;
        if (left <= 0) controller.error(new TypeError("network error"));
      },
    }),
  );
  return new Response(broken, { status: response.status, headers: response.headers });
};

async function all(pieces) {
  const found = [];
  for await (const piece of pieces) found.push(piece);
  return found;
}

const pieces = await all(answer(api, "c1", { messages: [{}] }));
const requests = asked.splice(0);
const nothing = await all(answer(api, "never asked"));
asked.push(...CUTS); // nothing is cut any more
const begun = asked.length;
const refused = await all(answer(api, "c2", {})).catch(({ code }) => code);
const separators = (await all(events(new Response("data: a\u2028b\u2029\n\n").body))).map(({ data }) => data);
console.log(JSON.stringify({ separators, pieces, requests, nothing, refused, repeated: asked.length - begun }));
