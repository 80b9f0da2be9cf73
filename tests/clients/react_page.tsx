// A page of `useChat` with `streamguard-client`, for a browser: /pages/{version}/?chat=…&user=…
// With `&api=…` it asks another endpoint, with `&attempts=…` it reconnects as often, and with `&resume` it has the whole
// answer by `useChat`'s own `resume`, which React's strict mode calls twice.

import { useChat } from "@ai-sdk/react";
import type { UIMessage } from "ai";
import { StrictMode, useEffect, useState } from "react";
import { createRoot } from "react-dom/client";
import { RequestRefusedError, StreamguardError, StreamguardTransport } from "streamguard-client";

const query = new URLSearchParams(location.search);
const id = query.get("chat") ?? "";
document.cookie = `user=${query.get("user")}; path=/`;

let reconnects = 0;
const faults: string[] = [];
const quotas: unknown[] = [];
const keys: (string | null)[] = [];
const resumes: string[] = [];
const statuses: string[] = [];
const transport = new StreamguardTransport({
  api: query.get("api") ?? "/api/chat",
  routes: "/api/chat",
  reconnect: { initialDelayMs: 20, maxDelayMs: 50, maxAttempts: Number(query.get("attempts") ?? 5) },
  fetch: (url, init) => {
    if (init?.method === "POST" && init.body) keys.push(new Headers(init.headers).get("idempotency-key"));
    if (String(url).includes("/stream")) resumes.push(String(url));
    return fetch(url, init);
  },
  onReconnect: () => (reconnects += 1),
  onFault: ({ code }) => faults.push(code),
  onQuota: ({ code, retry_after_seconds }) => quotas.push([code, retry_after_seconds]),
});

/** Who says what; AI SDK's marks of steps have nothing to show. */
function seen(messages: UIMessage[]): unknown {
  const said = messages.map(({ id, role, parts }) => ({ id, role, parts: parts.filter(({ type }) => type !== "step-start") }));
  return said.filter(({ parts }) => parts.length > 0);
}

function Page() {
  const [loaded, setLoaded] = useState(false);
  const [resumed, setResumed] = useState(false);
  const [draft, setDraft] = useState("");
  const chat = useChat<UIMessage>({
    id,
    transport,
    resume: query.has("resume"),
    onError: (error) => {
      if (!(error instanceof RequestRefusedError)) return;
      // A question that was refused is not saved: it goes back to where it was written.
      setMessages((shown) => {
        const refused = shown.at(-1);
        if (refused?.role !== "user") return shown;
        setDraft(refused.parts.map((part) => (part.type === "text" ? part.text : "")).join(""));
        return shown.slice(0, -1);
      });
    },
  });
  const { messages, setMessages, resumeStream, status, error } = chat;
  if (statuses.at(-1) !== status) statuses.push(status);
  useEffect(() => {
    if (query.has("resume")) return setLoaded(true);
    let current = true;
    void transport.savedMessages(id).then((saved) => {
      if (!current) return;
      setMessages(saved);
      setLoaded(true);
      void resumeStream().then(() => setResumed(true));
    });
    return () => void (current = false);
  }, []);
  Object.assign(window, {
    ask: (text: string) => void chat.sendMessage({ text }),
    edit: (index: number, text: string) => void chat.sendMessage({ text, messageId: messages[index]!.id }),
    regenerate: () => void chat.regenerate(),
    resume: () => void resumeStream(),
    stopAnswer: () => void transport.stop(id),
    resend: () => void transport.resend(chat),
    told: () => ({ reconnects, faults, quotas, keys, resumes, statuses }),
  });
  return (
    <main
      id="page"
      data-loaded={loaded}
      data-resumed={resumed}
      data-status={status}
      data-draft={draft}
      data-retry-after={error instanceof StreamguardError ? error.retryAfterSeconds : undefined}
      data-error={error instanceof StreamguardError ? error.code : error?.message}
    >
      {messages.map((message) => (
        <article key={message.id} data-role={message.role}>
          {message.parts.map((part) => (part.type === "text" ? part.text : "")).join("")}
        </article>
      ))}
      <pre id="messages">{JSON.stringify(seen(messages))}</pre>
    </main>
  );
}

createRoot(document.getElementById("root")!).render(
  <StrictMode>
    <Page />
  </StrictMode>,
);
