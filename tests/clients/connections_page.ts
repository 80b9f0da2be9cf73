// A page of answers without AI SDK, to count connections: /pages/connections/?user=…

import { type EventStream, openStream } from "streamguard-client";

const query = new URLSearchParams(location.search);
document.cookie = `user=${query.get("user")}; path=/`;

const streams: EventStream[] = [];
const texts: string[] = [];

async function ask(sessionId: string): Promise<void> {
  const messages = [{ id: "m1", role: "user", parts: [{ type: "text", text: "long" }] }];
  const stream = openStream({ sessionId, question: { body: { id: sessionId, messages } } });
  const index = streams.push(stream) - 1;
  texts[index] = "";
  for await (const { part } of stream) if (part.type === "text-delta") texts[index] += part.delta;
}

Object.assign(window, {
  ask: (sessionId: string) => void ask(sessionId),
  stop: (index: number) => void streams[index]!.stop(),
  answers: () => streams.map(({ outcome }, index) => [texts[index], outcome]),
  protocol: () => (performance.getEntriesByType("navigation")[0] as PerformanceNavigationTiming).nextHopProtocol,
});
