// A server whose answers only a test can give.

import { createServer } from "node:http";
import { after } from "node:test";

/** A server whose requests are answered by `answers` in turn; the last one stays. */
export async function scripted(...answers) {
  const seen = [];
  const server = createServer((request, response) => {
    seen.push({ method: request.method, url: request.url, headers: request.headers, at: performance.now() });
    answers[Math.min(seen.length, answers.length) - 1](response, request);
  });
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  after(() => (server.closeAllConnections(), server.close()));
  return { base: `http://127.0.0.1:${server.address().port}`, seen };
}

export const refusing = (status, code, { headers = {}, ...more } = {}) => (response) => {
  response.writeHead(status, { "content-type": "application/json", ...headers });
  const fault = { code, status, message: "No.", severity: "error", phase: "request", retryable: false, fault_id: "f1", ...more };
  response.end(code === null ? "<html>" : JSON.stringify({ error: { type: "streamguard_error", param: null, ...fault } }));
};

export const streaming = (text, { ui = true, end = true } = {}) => (response) => {
  const headers = { "content-type": "text/event-stream; charset=utf-8", ...(ui ? { "x-vercel-ai-ui-message-stream": "v1" } : {}) };
  response.writeHead(200, { ...headers, "x-stream-id": "s1", "x-message-id": "m" });
  response.write(text);
  if (end) response.end();
};

export const who = { user: "u", chatId: "c/1" };
export const finish = 'data: {"type":"finish"}\n\ndata: [DONE]\n\n';
export const start = 'id: 1.s.1.1\ndata: {"type":"start","messageId":"m"}\n\n';
