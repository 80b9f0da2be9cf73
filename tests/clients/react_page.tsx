// A page of `useChat` with `streamguard-client`, for a browser: /pages/{version}/?chat=…&user=…

import { useChat } from "@ai-sdk/react";
import type { UIMessage } from "ai";
import { StrictMode, useEffect, useState } from "react";
import { createRoot } from "react-dom/client";
import { StreamguardError, StreamguardTransport } from "streamguard-client";

const query = new URLSearchParams(location.search);
const id = query.get("chat") ?? "";
document.cookie = `user=${query.get("user")}; path=/`;

let reconnects = 0;
const faults: string[] = [];
const transport = new StreamguardTransport({
  reconnect: { initialDelayMs: 20, maxDelayMs: 50, maxAttempts: 5 },
  onReconnect: () => (reconnects += 1),
  onFault: ({ code }) => faults.push(code),
});

/** Who says what; AI SDK's marks of steps have nothing to show. */
function seen(messages: UIMessage[]): unknown {
  const said = messages.map(({ id, role, parts }) => ({ id, role, parts: parts.filter(({ type }) => type !== "step-start") }));
  return said.filter(({ parts }) => parts.length > 0);
}

function Page() {
  const [loaded, setLoaded] = useState(false);
  const [resumed, setResumed] = useState(false);
  const chat = useChat<UIMessage>({ id, transport });
  const { messages, setMessages, resumeStream, status, error } = chat;
  useEffect(() => {
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
    told: () => ({ reconnects, faults }),
  });
  return (
    <main
      id="page"
      data-loaded={loaded}
      data-resumed={resumed}
      data-status={status}
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
