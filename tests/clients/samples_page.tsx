// Runs the samples of the package's README and of its pages in the documentation.

import { useEffect } from "react";
import { createRoot } from "react-dom/client";
import { useGuardedChat } from "./readme-0.tsx";
import { remaining } from "./how-to-2.tsx";
import { ask, follow } from "./how-to-3.tsx";
import { stop } from "./reference-0.tsx";
import { textOf } from "./reference-1.tsx";

const id = crypto.randomUUID();
document.cookie = `user=${id}; path=/`;
const results: Record<string, unknown> = {};

function Chat({ done }: { done: () => void }) {
  const { messages, sendMessage, status, stop } = useGuardedChat("guarded");
  useEffect(() => void sendMessage({ text: "Hello" }), []);
  useEffect(() => {
    const texts = messages.map(({ parts }) => parts.map((part) => (part.type === "text" ? part.text : "")).join(""));
    if (status !== "ready" || texts[1] !== "Answer to Hello" || results.useGuardedChat) return;
    results.useGuardedChat = texts;
    void stop().then((stopped) => {
      results.useGuardedChat = [...texts, stopped];
      done();
    });
  }, [status, messages]);
  return null;
}

const text = async (read: (show: (text: string) => void) => Promise<unknown>) => {
  let shown = "";
  await read((delta) => (shown += delta));
  return shown;
};

await new Promise<void>((done) => createRoot(document.getElementById("root")!).render(<Chat done={done} />));
const before = document.body.textContent;
await import("./readme-1.tsx");
results.openStream = document.body.textContent.slice(before.length);
results.ask = [await ask(id, "one", () => {}), await text((show) => ask(crypto.randomUUID(), "one", show))];
results.remaining = await remaining(id);
const long = crypto.randomUUID();
let asked: Promise<string>;
await new Promise<void>((begun) => (asked = ask(long, "long", () => begun())));
const whole = textOf(long);
results.follow = await text((show) => follow(long, (delta) => (show(delta), delta && void stop(long).then((it) => (results.stop = it)))));
results.textOf = await whole;
results.ask = [results.ask, await asked!];
Object.assign(window, { results, done: true });
